package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// userTimeout bounds a change of an account: usermod -u walks the home to give it to the new number.
const userTimeout = 5 * time.Minute

// Accounts gives the accounts of /etc/passwd, each with its supplementary groups sorted, and the names in /etc/group.
// Accounts of directories (LDAP) are not local and not listed.
func (s System) Accounts() (users map[string]schema.User, groups map[string]bool, err error) {
	passwd, err := readBounded(s.Root+"/etc/passwd", maxAccounts)
	if err != nil {
		return nil, nil, err
	}
	group, err := readBounded(s.Root+"/etc/group", maxAccounts)
	if err != nil {
		return nil, nil, err
	}
	users, groups = accounts(parsePasswd(passwd), parseGroup(group))
	return users, groups, nil
}

// CreateUser makes an account with useradd, and its home with what /etc/skel has. The password is locked.
func (s System) CreateUser(ctx context.Context, name string, want schema.User) error {
	args := append([]string{"-m"}, userArgs(want)...)
	if len(want.Groups) > 0 {
		args = append(args, "-G", strings.Join(want.Groups, ","))
	}
	return s.account(ctx, "useradd", args, name)
}

// ChangeUser sets the fields that want has with usermod, and adds the account to the groups that want
// names. A new home is not made and nothing is moved there.
func (s System) ChangeUser(ctx context.Context, name string, want schema.User) error {
	args := userArgs(want)
	if len(want.Groups) > 0 {
		args = append(args, "-a", "-G", strings.Join(want.Groups, ","))
	}
	return s.account(ctx, "usermod", args, name)
}

// DeleteUser removes an account with userdel, and leaves its home.
func (s System) DeleteUser(ctx context.Context, name string) error {
	return s.account(ctx, "userdel", nil, name)
}

func userArgs(u schema.User) []string {
	var args []string
	if u.UID != nil {
		args = append(args, "-u", strconv.FormatUint(uint64(*u.UID), 10))
	}
	if u.Shell != "" {
		args = append(args, "-s", u.Shell)
	}
	if u.Home != "" {
		args = append(args, "-d", u.Home)
	}
	return args
}

// account runs a program of the shadow suite.
func (s System) account(ctx context.Context, program string, args []string, name string) error {
	for _, a := range append(slices.Clone(args), name) {
		if strings.ContainsAny(a, ":\n\x00") {
			return fmt.Errorf("%q cannot stand in an account", a)
		}
	}
	if name == "" || name[0] == '-' {
		return fmt.Errorf("%q is not the name of an account", name)
	}
	if s.Root != "" {
		args = append([]string{"-P", s.Root}, args...)
	}
	s.at(program)
	c := Command{Path: program, Args: append(args, "--", name), Timeout: userTimeout}
	out, err := Run(ctx, c)
	if errors.Is(err, ErrNoProgram) {
		return fmt.Errorf("%w; accounts need the shadow suite (package passwd on Debian, shadow-utils on Fedora, shadow on Alpine)", err)
	}
	if err != nil {
		return err
	}
	return out.Err(c)
}
