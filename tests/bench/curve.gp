# curve.gp - the picture of a curve file of trm-eval --csv: how many puzzles are solved after each supervision step.
#
#   gnuplot -e "csv='curve.csv'; picture='curve.png'" tests/bench/curve.gp
set datafile separator ","
set terminal pngcairo size 1000,600 font "sans,13" linewidth 2
set output picture
set key outside right center reverse Left samplen 2
set xlabel "supervision step"
set ylabel "puzzles solved, %"
set yrange [0:100]
set grid ytics linecolor rgb "#dddddd"
set border 3
set tics nomirror
groups = system(sprintf("tail -n +2 '%s' | cut -d, -f1 | awk '!seen[$0]++ { gsub(/ /, \"~\"); print }'", csv))
name(group) = system(sprintf("echo '%s' | sed 's/^[a-z]*~//; s/_/ /g; s/~/ /g'", group))
rows(group) = sprintf("< awk -F, -v g='%s' '{ n = $1; gsub(/ /, \"~\", n) } n == g' '%s'", group, csv)
plot for [i=1:words(groups)] rows(word(groups, i)) using 2:(100 * $4) with linespoints pointsize 0.6 title name(word(groups, i))
