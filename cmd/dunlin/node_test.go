package main

import (
	"strings"
	"testing"
)

func TestTagsTakeWhatTheRosterTakes(t *testing.T) {
	for _, tt := range []struct {
		name, tag string
		ok        bool
	}{
		{"letters, digits, blanks and signs", "sité 1_.:/+-@=a=ß 2", true},
		{"a value of 256 characters", "k=" + strings.Repeat("é", 256), true},
		{"a value of 257", "k=" + strings.Repeat("e", 257), false},
		{"a key of 128 characters", strings.Repeat("é", 128) + "=", true},
		{"a key of 129", strings.Repeat("e", 129) + "=v", false},
		{"no key", "=v", false},
		{"no =", "k", false},
		{"another sign", "k=a,b", false},
		{"a combining mark", "k=e\u0301", false},
		{"a tab", "k=a\tb", false},
		{"a line's separator", "k=a\u2028b", false},
		{"a replacement for what is no text", "k=\ufffd", false},
		{"what is no text", "k=\xff", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseTags([]string{tt.tag}); (err == nil) != tt.ok {
				t.Errorf("parseTags(%q) = %v, want it taken: %t", tt.tag, err, tt.ok)
			}
		})
	}
}
