// Package figures writes numbers for people: counts, shares, sizes, rates and times, the same everywhere.
package figures

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Count groups the digits of a number by threes.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// About is an estimated number: three digits, and a word for the rest.
func About(n float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, " billion"}, {1e6, " million"}, {1e3, " thousand"}} {
		if n >= 10*u.size || u.size > 1e3 && n >= 0.9995*u.size {
			return threeDigits(n/u.size) + u.name
		}
	}
	return fmt.Sprintf("%.0f", n)
}

// Percent is n as a share. What is not all, or not none, does not look so.
func Percent(n, of int64) string {
	if of <= 0 {
		return "–"
	}
	if n == 0 || n == of {
		return strconv.FormatInt(100*n/of, 10) + " %"
	}
	share := 100 * float64(n) / float64(of)
	if share < 0.1 {
		return "< 0.1 %"
	}
	if share > 99.9 {
		return "> 99.9 %"
	}
	return strconv.FormatFloat(share, 'f', 1, 64) + " %"
}

// Bytes is a size, as 1.5 MiB.
func Bytes(n int64) string {
	size, unit := scale(float64(n), 1024, 1023.95, "B", "KiB", "MiB", "GiB", "TiB")
	return strconv.FormatFloat(math.Round(10*size)/10, 'f', -1, 64) + " " + unit
}

// Decimal is a size of a disk, or of what a link carries, as 1.57 MB.
func Decimal(n float64) string {
	size, unit := scale(n, 1000, 999.5, "B", "kB", "MB", "GB", "TB")
	if unit == "B" {
		return fmt.Sprintf("%.0f B", size)
	}
	return threeDigits(size) + " " + unit
}

// threeDigits are those that a number begins with, and all before its point.
func threeDigits(n float64) string {
	if n >= 999.5 { // which %g writes as 1e+03
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.3g", n)
}

// scale writes a number in the largest of some units, each so many times the one before. From round on a
// number is rounded to one of the next unit.
func scale(n, times, round float64, units ...string) (size float64, unit string) {
	for n >= round && len(units) > 1 {
		n, units = n/times, units[1:]
	}
	return n, units[0]
}

// Flag is a size as flags take it, as 1.5MiB.
func Flag(n int64) string { return strings.ReplaceAll(Bytes(n), " ", "") }

// Rate is a number of rows per second.
func Rate(r float64) string { return fmt.Sprintf("%.1f/s", r) }

// Span is a length of time.
func Span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= time.Hour:
		return fmt.Sprintf("%.1f hours", d.Hours())
	case d >= time.Second:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}

// Of is a number of things, named in the singular: "1 face", "2 faces".
func Of[N ~int | ~int64](n N, thing string) string { return fmt.Sprintf("%d %s", n, Word(n, thing)) }

// Word is the name of so many things, given the singular.
func Word[N ~int | ~int64](n N, thing string) string {
	if n == 1 {
		return thing
	}
	return thing + "s"
}

// Be is the verb for so many things.
func Be[N ~int | ~int64](n N) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// Are is so many things as the subject of a sentence: "1 row is", "2 rows are".
func Are[N ~int | ~int64](n N, thing string) string {
	return Of(n, thing) + " " + Be(n)
}
