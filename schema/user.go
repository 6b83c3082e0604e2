package schema

import (
	"errors"
	"fmt"
	"strings"
)

// Check reports what keeps the account of that name from being made so, whatever the host: its words become arguments
// of programs that run as root, and fields of files in which a colon or a line break begins another field (passwd(5)).
func (u User) Check(name string) error {
	if u.State != Present && u.State != Absent {
		return fmt.Errorf("state %q is neither present nor absent", u.State)
	}
	words := append([]string{name}, u.Groups...)
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, ",/ \t") {
			return fmt.Errorf("%q is not a name", w)
		}
	}
	for _, path := range []string{u.Shell, u.Home} {
		if path != "" && path[0] != '/' {
			return fmt.Errorf("%q is not an absolute path", path)
		}
		words = append(words, path)
	}
	for _, w := range words {
		if strings.HasPrefix(w, "-") || strings.ContainsFunc(w, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q has a sign that cannot stand in an account", w)
		}
	}
	if u.UID != nil && *u.UID >= 1<<32-1 {
		return fmt.Errorf("uid %d is not the number of an account", *u.UID)
	}
	if u.UID != nil && (*u.UID == 0) != (name == "root") {
		return fmt.Errorf("uid %d: number 0 is root's and nobody else's", *u.UID)
	}
	if u.State == Absent && name == "root" {
		return errors.New("is root's account: never deleted")
	}
	return nil
}
