#include "cm.h"
int main(void){return 0;}
