// Package must ends a test at the first error, where the test is not about errors.
package must

import "iter"

// TB is the part of testing.TB, and of rapid.TB, that ends a test.
type TB interface {
	Helper()
	Fatal(args ...any)
}

// OK ends the test at an error.
func OK(t TB, err error) {
	if err != nil {
		t.Helper() // here, since it takes longer than what a benchmark measures
		t.Fatal(err)
	}
}

// Get is for a call that returns a value and an error: must.Get(os.ReadFile(name))(t) is the value.
func Get[T any](value T, err error) func(TB) T {
	return func(t TB) T {
		t.Helper()
		OK(t, err)
		return value
	}
}

// All is all that a sequence yields.
func All[T any](t TB, values iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for v, err := range values {
		OK(t, err)
		all = append(all, v)
	}
	return all
}
