package sample

import "testing"

// Allocations is how many allocations a call of f takes. What the runtime allocates meanwhile is counted too,
// so the least of some counts is taken.
func Allocations(f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for range 4 {
		if least == 0 {
			break
		}
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}
