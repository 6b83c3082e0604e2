package schema

import "testing"

func TestSysctlKeysFollowTheRuleOfSysctl8(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.conf.eth0/1.forwarding": "net/ipv4/conf/eth0.1/forwarding",
		"net/ipv4/conf/eth0.1/forwarding": "net/ipv4/conf/eth0.1/forwarding",
		"kernel.hostname":                 "kernel/hostname",
		"kernel/hostname":                 "kernel/hostname",
		"kernel.":                         "",
		"a/./b":                           "",
		"a..b":                            "",
		"a/../b":                          "",
		"":                                "",
	} {
		got, err := SysctlPath(key)
		if got != want && err == nil || (err != nil) != (want == "") {
			t.Errorf("SysctlPath(%q) = %q, %v, want %q", key, got, err, want)
		}
	}
}
