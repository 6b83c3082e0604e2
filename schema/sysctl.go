package schema

import (
	"fmt"
	"strings"
)

// SysctlPath is the path of a key below /proc/sys, by the rule of sysctl(8): whichever of dot and
// slash comes first separates, the other stands for itself turned round, so that
// net.ipv4.conf.eth0/1.forwarding and net/ipv4/conf/eth0.1/forwarding are the same.
func SysctlPath(key string) (string, error) {
	path := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		path = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, "\x00\n*") {
			return "", fmt.Errorf("%q is not the name of one kernel parameter", key)
		}
	}
	return path, nil
}
