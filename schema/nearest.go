package schema

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Nearest gives the word that a mistyped one was most likely meant to be, or "" where none is near.
func Nearest(got string, words []string) string {
	if len(got) > 40 || len(words) == 0 {
		return ""
	}
	best := slices.MinFunc(append(slices.Clone(words), got+"???"), func(a, b string) int { return cmp.Compare(edits(got, a), edits(got, b)) })
	if d := edits(got, best); d == 0 && got != best {
		return best // the case alone
	} else if d == 0 || d > 2 || d*2 >= len(best) {
		for _, w := range words { // a word that was left half
			if len(got) >= 4 && len(w) > len(got) && strings.EqualFold(w[:len(got)], got) {
				return w
			}
		}
		return ""
	}
	return best
}

// didYouMean offers the nearest word, if any is near.
func didYouMean(got string, words []string) string {
	best := Nearest(got, words)
	if best == "" {
		return ""
	}
	return " (did you mean " + strconv.Quote(best) + "?)"
}

// edits is the number of letters to change, add or drop, whatever their case.
func edits(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
