package agent

import "testing"

func TestAddressesToJoinElsewhere(t *testing.T) {
	for join, want := range map[string]bool{"10.0.0.1:7950": true, "web-1.example.org:7950": true, "web-1": true, "[fd00::1]:7950": true,
		"127.0.0.1:7950": false, "127.0.0.9": false, "localhost:7950": false, "[::1]:7950": false} {
		if got := elsewhere(join); got != want {
			t.Errorf("elsewhere(%q) = %v", join, got)
		}
	}
}
