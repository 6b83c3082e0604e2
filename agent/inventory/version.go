package inventory

import "strings"

// CompareVersions orders two Debian versions as dpkg does (deb-version(7)):
// negative if a is older than b, zero if equal, positive if newer. Every string
// is accepted; what is no version is compared by the same rules.
func CompareVersions(a, b string) int {
	if a == b {
		return 0
	}
	ea, a := cutEpoch(a)
	eb, b := cutEpoch(b)
	if c := comparePart(ea, eb); c != 0 {
		return c
	}
	ua, ra := cutRevision(a)
	ub, rb := cutRevision(b)
	if c := comparePart(ua, ub); c != 0 {
		return c
	}
	return comparePart(ra, rb)
}

func cutEpoch(s string) (epoch, rest string) {
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}

func cutRevision(s string) (upstream, revision string) {
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// comparePart compares alternating runs of other characters and digits, digits by value.
func comparePart(a, b string) int {
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		for i < len(a) && !isDigit(a[i]) || j < len(b) && !isDigit(b[j]) {
			x, y := weightAt(a, i), weightAt(b, j)
			if x != y {
				return x - y
			}
			i++
			j++
		}
		for i < len(a) && a[i] == '0' {
			i++
		}
		for j < len(b) && b[j] == '0' {
			j++
		}
		first := 0
		for i < len(a) && j < len(b) && isDigit(a[i]) && isDigit(b[j]) {
			if first == 0 {
				first = int(a[i]) - int(b[j])
			}
			i++
			j++
		}
		switch {
		case i < len(a) && isDigit(a[i]):
			return 1
		case j < len(b) && isDigit(b[j]):
			return -1
		case first != 0:
			return first
		}
	}
	return 0
}

// weightAt is the rank of a non-digit: the tilde sorts before the end, the end
// (and a digit, which ends the run) before letters, letters before the rest.
func weightAt(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	switch c := s[i]; {
	case c == '~':
		return -1
	case isDigit(c):
		return 0
	case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		return int(c)
	default:
		return int(c) + 256
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
