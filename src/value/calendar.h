/*
 * calendar.h: days and microseconds, as Python's datetime counts them.
 *
 *      ordinal 1             = 0001-01-01, 3652059 = 9999-12-31 (the proleptic Gregorian calendar)
 *      microsecond 0         = 0001-01-01T00:00:00
 *
 * An encoded date is its ordinal, an encoded datetime its microsecond: one number each, where year, month and day
 * would be three whose combinations have to be checked. These functions are for callers who have fields.
 *
 * Concurrency, failure: pure functions. What is not a date makes hf_date_ordinal return 0.
 */
#ifndef HF_VALUE_CALENDAR_H
#define HF_VALUE_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>

#define HF_SECOND_US INT64_C(1000000)
#define HF_DAY_US (86400 * HF_SECOND_US)

enum { HF_ORDINAL_MAX = 3652059 };

typedef struct hf_date {
    int year, month, day;
} hf_date;

static inline bool hf_year_is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days before the first of January. */
static inline int32_t hf_year_days_before(int year)
{
    int y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400;
}

/* Days of the year before the first of the month; month 13 is the length of the year. */
static inline int hf_month_days_before(int year, int month)
{
    static const int16_t before[] = {0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    return before[month] + (month > 2 && hf_year_is_leap(year));
}

static inline int32_t hf_date_ordinal(hf_date date)
{
    if (date.year < 1 || date.year > 9999 || date.month < 1 || date.month > 12 || date.day < 1)
        return 0;
    int start = hf_month_days_before(date.year, date.month);
    if (date.day > hf_month_days_before(date.year, date.month + 1) - start)
        return 0;
    return hf_year_days_before(date.year) + start + date.day;
}

/* `ordinal` is one of those above. */
static inline hf_date hf_date_of_ordinal(int32_t ordinal)
{
    /* 400 years have 146,097 days: that tells the year, or the one after it. */
    int year = (int)((int64_t)(ordinal - 1) * 400 / 146097) + 1, month = 1;
    if (hf_year_days_before(year) >= ordinal)
        year--;
    else if (hf_year_days_before(year + 1) < ordinal)
        year++;
    int day = ordinal - hf_year_days_before(year);
    while (day > hf_month_days_before(year, month + 1))
        month++;
    return (hf_date){year, month, day - hf_month_days_before(year, month)};
}

#endif
