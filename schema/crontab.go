package schema

import (
	"regexp"
	"strings"
)

// FromCrontab gives the cron(...) of the five fields that crontab has, or "" where they are not that, or where both days
// are given, of which crontab takes either.
func FromCrontab(text string) string {
	words := strings.Fields(text)
	if len(words) != 5 {
		return ""
	}
	for _, w := range words {
		if !regexp.MustCompile(`^[0-9A-Za-z*/,-]+$`).MatchString(w) {
			return ""
		}
	}
	dom, dow := words[2], strings.ToUpper(words[4])
	switch {
	case dow == "*":
		dow = "?"
	case dom != "*" || strings.Contains(dow, "/"):
		return ""
	default:
		dom = "?"
		dow = regexp.MustCompile(`[0-9]+`).ReplaceAllStringFunc(dow, func(n string) string {
			if len(n) > 1 || n > "7" {
				return "!"
			}
			return []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"}[n[0]-'0']
		})
		if strings.Contains(dow, "!") || strings.Contains(dow, "-SUN") { // no such day, or a range that would run backwards
			return ""
		}
	}
	return "cron(" + strings.Join([]string{words[0], words[1], dom, strings.ToUpper(words[3]), dow, "*"}, " ") + ")"
}
