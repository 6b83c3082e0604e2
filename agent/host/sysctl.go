package host

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// bootFile is ours alone. Its name sorts after the files of packages and administrators, so that it
// wins over them; only /etc/sysctl.conf, where `sysctl --system` still reads it, comes later.
const bootFile = "/etc/sysctl.d/zz-dunlin.conf"

const bootHeader = "# Written by dunlin: kernel parameters that a policy keeps. Changes here are lost.\n"

// parseBoot reads our file: `key = value` a line.
func parseBoot(b []byte) map[string]string {
	out := map[string]string{}
	for line := range bytes.Lines(b) {
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		if key, value, ok := strings.Cut(text, "="); ok {
			out[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return out
}

// formatBoot writes our file, sorted.
func formatBoot(lines map[string]string) ([]byte, error) {
	b := []byte(bootHeader)
	for _, key := range slices.Sorted(maps.Keys(lines)) {
		if _, err := schema.SysctlPath(key); err != nil {
			return nil, err
		}
		if strings.ContainsAny(key, "\n\r\x00=") || strings.ContainsAny(lines[key], "\n\r\x00") {
			return nil, fmt.Errorf("%q = %q does not fit into a line", key, lines[key])
		}
		b = fmt.Appendf(b, "%s = %s\n", key, lines[key])
	}
	return b, nil
}
