;; The work of c/map_bench.c with Clojure's persistent and transient maps.
;;
;; It reads commands, a line each, and answers each with a line of JSON, so that bench/run.py can
;; alternate between the two programs while this one stays warm:
;;
;;   update ROUNDS   give every key of a 1,000-key map a new value, ROUNDS times, a version for each
;;   insert N        N keys into the empty map, a version for each
;;   transient N     the same through a transient
;;   look-up N       every key of a map of N, and compare what is found
;;
;; Keys, their order and the values are those of the C program. Keys and values are boxed before the
;; clock starts, and the heap is collected: what is left is what the maps cost.

(set! *warn-on-reflection* true)
(set! *unchecked-math* :warn-on-boxed)

(defn splitmix ^long [^long state]
  (let [a (unchecked-multiply (bit-xor state (unsigned-bit-shift-right state 30)) -4658895280553007687)
        b (unchecked-multiply (bit-xor a (unsigned-bit-shift-right a 27)) -7723592293110705685)]
    (bit-xor b (unsigned-bit-shift-right b 31))))

(def ^:const golden -7046029254386353131)

(defn shuffled
  "The numbers below n as boxed longs, in an order that the seed decides."
  ^objects [^long n ^long seed]
  (let [keys (object-array n)]
    (dotimes [i n] (aset keys i (Long/valueOf (long i))))
    (loop [i (dec n) state seed]
      (when (pos? i)
        (let [state (unchecked-add state golden)
              j (Long/remainderUnsigned (splitmix state) (inc i))
              held (aget keys i)]
          (aset keys i (aget keys j))
          (aset keys j held)
          (recur (dec i) state))))
    keys))

(defn value-of ^long [^long key] (unchecked-add (unchecked-multiply 3 key) 1))

(defn boxed-values ^objects [^objects keys]
  (let [values (object-array (alength keys))]
    (dotimes [i (alength keys)]
      (aset values i (Long/valueOf (value-of (.longValue ^Long (aget keys i))))))
    values))

(defn assoc-all [m ^objects keys value]
  (let [n (alength keys)]
    (loop [i 0 m m]
      (if (< i n) (recur (inc i) (assoc m (aget keys i) value)) m))))

(defn insert-all [^objects keys ^objects values]
  (let [n (alength keys)]
    (loop [i 0 m {}]
      (if (< i n) (recur (inc i) (assoc m (aget keys i) (aget values i))) m))))

(defn insert-all-transient [^objects keys ^objects values]
  (let [n (alength keys)]
    (loop [i 0 m (transient {})]
      (if (< i n) (recur (inc i) (assoc! m (aget keys i) (aget values i))) (persistent! m)))))

(defn count-right
  "How many of the keys are found with the value that is theirs."
  ^long [m ^objects keys]
  (let [n (alength keys)]
    (loop [i 0 right 0]
      (if (< i n)
        (let [key (aget keys i)
              found (get m key)]
          (recur (inc i)
                 (if (and (some? found)
                          (== (.longValue ^Long found) (value-of (.longValue ^Long key))))
                   (inc right)
                   right)))
        right))))

(defn whole? [m ^objects keys]
  (and (= (count m) (alength keys)) (== (count-right m keys) (alength keys))))

(defmacro timed
  "[nanoseconds result]"
  [& body]
  `(do (System/gc)
       (let [start# (System/nanoTime)
             result# (do ~@body)]
         [(- (System/nanoTime) start#) result#])))

(def inputs
  "Keys in the order of insertion, their values, keys in the order of look-up."
  (memoize (fn [n] (let [keys (shuffled n 1)] [keys (boxed-values keys) (shuffled n 2)]))))

(def built (memoize (fn [n] (let [[keys values _] (inputs n)] (insert-all keys values)))))

(defmulti work (fn [name _] name))

(defmethod work "update" [_ rounds]
  (let [[keys values order] (inputs 1000)
        rounds (long rounds)
        start (insert-all keys values)
        [ns m] (timed (loop [r 0 m start]
                        (if (< r rounds)
                          (recur (inc r) (assoc-all m order (Long/valueOf r)))
                          m)))
        last-value (dec rounds)]
    [ns (* rounds 1000)
     (and (= (count m) 1000) (every? (fn [key] (= last-value (get m key))) keys) (whole? start keys))]))

(defmethod work "insert" [_ n]
  (let [[keys values _] (inputs n)
        [ns m] (timed (insert-all keys values))]
    [ns n (whole? m keys)]))

(defmethod work "transient" [_ n]
  (let [[keys values _] (inputs n)
        [ns m] (timed (insert-all-transient keys values))]
    [ns n (whole? m keys)]))

(defmethod work "look-up" [_ n]
  (let [[_ _ order] (inputs n)
        m (built n)
        [ns right] (timed (count-right m order))]
    [ns n (= right n)]))

(println (format "{\"version\": \"Clojure %s, %s %s\"}"
                 (clojure-version) (System/getProperty "java.vm.name") (System/getProperty "java.version")))
(flush)

(doseq [line (line-seq (java.io.BufferedReader. *in*))]
  (let [[name n] (.split ^String line " ")
        [ns ops right] (work name (Long/parseLong n))]
    (println (format "{\"work\": \"%s\", \"ns\": %d, \"ops\": %d, \"right\": %b}" name ns ops (boolean right)))
    (flush)))
