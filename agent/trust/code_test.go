package trust

import (
	"strings"
	"testing"
)

func TestCodesAreReadAsTheyAreTyped(t *testing.T) {
	key := seed("code", 1)
	code := FormatCode(key)
	for _, typed := range []string{code, strings.ToUpper(code), " " + strings.ReplaceAll(code, "-", " ") + "\r\n", strings.ReplaceAll(code, "-", "")} {
		if got, err := ParseCode(typed); err != nil || !got.Equal(key) {
			t.Errorf("ParseCode(%q) = %v", typed, err)
		}
	}
	if len(code) != len("dunlin1-")+7*8+6 {
		t.Errorf("%q", code)
	}
	for i := len(codePrefix); i < len(code); i++ {
		if code[i] == '-' {
			continue
		}
		for _, c := range []byte("a7") {
			if b := code[:i] + string(c) + code[i+1:]; b != code {
				if _, err := ParseCode(b); err == nil {
					t.Errorf("a wrong character at %d is not noticed", i)
				} else if strings.Contains(err.Error(), code[i-4:i]) && i > 16 {
					t.Errorf("the error tells of the code: %v", err)
				}
			}
		}
	}
	for _, bad := range []string{"", "x", "dunlin1-", code + "a", code[:len(code)-1], "dunlin2" + code[7:], strings.Repeat("a", 5000), code[:10] + "0" + code[11:]} {
		if _, err := ParseCode(bad); err == nil {
			t.Errorf("ParseCode(%q) takes it", bad)
		}
	}
}
