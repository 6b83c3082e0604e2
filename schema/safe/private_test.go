package safe_test

import (
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema/safe"
)

func TestPrivateKeysAreNotShown(t *testing.T) {
	const rest = "1ALZ0QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGP"
	for _, head := range []string{"AGE-SECRET-KEY-", "age-secret-key-", "AGE-SECRET-KEY-PQ-", "AGE-PLUGIN-YUBIKEY-"} {
		for _, text := range []string{head + rest, "recovery: [\"age1x\", \"" + head + rest + "\"] // y-z", head + rest[:8], "a-b-" + head + rest} {
			got := safe.HidePrivateKeys(text)
			if len(got) != len(text) || strings.Contains(got, "ALZ0") || !safe.HasPrivateKey(text) {
				t.Errorf("HidePrivateKeys(%q) = %q", text, got)
			}
		}
	}
	for _, text := range []string{"", "age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g", "AGE-SECRET-KEY-...", "an age-old web-1", "-", "x-"} {
		if got := safe.HidePrivateKeys(text); got != text || safe.HasPrivateKey(text) {
			t.Errorf("HidePrivateKeys(%q) = %q", text, got)
		}
	}
}
