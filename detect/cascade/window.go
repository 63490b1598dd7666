// Package cascade evaluates pigo's decision-tree cascades.
package cascade

// Window is a square of the image that the cascade took for a face. Row and Col are its centre, Size its side, in
// pixels of the image that was searched.
type Window struct {
	Row, Col, Size int
	Score          float32 // above zero
}
