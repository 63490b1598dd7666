// Package nearest finds the word that was meant where one was mistyped.
package nearest

import "strings"

// Hint suggests the word that is most like the given one, as the end of a message: `; did you mean status?`.
// It is empty if none is like it.
func Hint(word string, words []string) string {
	if w := Word(word, words); w != "" {
		return "; did you mean " + w + "?"
	}
	return ""
}

// Among is the end of a message about a word that is none of a few: the one that may be meant, and all of
// them.
func Among(word string, words []string) string {
	if hint := Hint(word, words); hint != "" {
		return hint + " there are " + strings.Join(words, ", ")
	}
	return ": there are " + strings.Join(words, ", ")
}

// OneOf is the end of a message about a word that is none of a few: what it can be, and the one that may be
// meant.
func OneOf(word string, words []string) string {
	last := len(words) - 1
	if last == 0 {
		return "it is " + words[0]
	}
	return "it is " + strings.Join(words[:last], ", ") + " or " + words[last] + Hint(word, words)
}

// Word returns the word that is most like the given one, and empty if none is: one change in three letters is
// the most.
func Word(word string, words []string) (best string) {
	if len(word) > 64 { // which nobody mistyped
		return ""
	}
	word = strings.ToLower(word)
	least := max(1, len(word)/3) + 1
	for _, w := range words {
		if d := distance(word, strings.ToLower(w)); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to add, drop, change or exchange with their neighbours (optimal string
// alignment).
func distance(a, b string) int {
	var rows [3][]int // of the matrix: two back, one back, present
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		now, back, twoBack := rows[2], rows[1], rows[0]
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(back[j]+1, now[j-1]+1, back[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], twoBack[j-2]+1)
			}
		}
		rows[0], rows[1], rows[2] = back, now, twoBack
	}
	return rows[1][len(b)]
}
