package pipeline

import "fmt"

// UsageError says which flags or arguments of a command cannot be used, and what to do.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// Usagef is a *UsageError.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }
