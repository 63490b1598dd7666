package detect

import "math"

// pigoConfidence was fitted to annotated photos of which four in five show a face.
func pigoConfidence(score float64) float64 { return 1 / (1 + math.Pow(5/score, 1.6)) }

// yunetConfidence was fitted to the same photos by logistic regression on the score's odds.
func yunetConfidence(score float64) float64 {
	odds := 2.8 * math.Pow(score/(1-min(score, 0.9999)), 1.8)
	return odds / (1 + odds)
}
