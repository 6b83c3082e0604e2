package user

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// still is a host whose accounts cannot change; it remembers what was asked.
type still struct {
	users  map[string]schema.User
	groups map[string]bool
	asked  *[]string
}

func (s still) Accounts() (map[string]schema.User, map[string]bool, error) {
	return s.users, s.groups, nil
}
func (s still) CreateUser(_ context.Context, name string, u schema.User) error {
	*s.asked = append(*s.asked, "create "+name+": "+describe(u))
	return nil
}
func (s still) ChangeUser(_ context.Context, name string, u schema.User) error {
	*s.asked = append(*s.asked, "change "+name+": "+describe(u))
	return nil
}
func (s still) DeleteUser(_ context.Context, name string) error {
	*s.asked = append(*s.asked, "delete "+name)
	return nil
}

func number(n uint32) *uint32 { return &n }

func TestAccountsAreJudgedAndOnlyWhatDiffersIsAsked(t *testing.T) {
	var asked []string
	host := still{
		users: map[string]schema.User{
			"root":   {UID: number(0), Shell: "/bin/bash", Home: "/root"},
			"toor":   {UID: number(0)},
			"deploy": {UID: number(2001), Shell: "/bin/sh", Home: "/home/deploy", Groups: []string{"ops"}},
		},
		groups: map[string]bool{"ops": true, "adm": true}, asked: &asked,
	}
	absent := schema.User{State: schema.Absent}
	for _, tt := range []struct {
		name string
		user string
		want schema.User
		out  string
		asks string
	}{
		{"nothing named is nothing kept", "deploy", schema.User{}, "", ""},
		{"all as it is", "deploy", schema.User{UID: number(2001), Shell: "/bin/sh", Groups: []string{"ops"}}, "", ""},
		{"the shell", "deploy", schema.User{UID: number(2001), Shell: "/bin/zsh"}, "update: shell /bin/zsh <- shell /bin/sh", "change deploy: shell /bin/zsh"},
		{"one more group", "deploy", schema.User{Groups: []string{"ops", "adm"}}, "update: groups adm <- groups ops", "change deploy: groups adm"},
		{"a new account", "new", schema.User{UID: number(7)}, "create: uid 7 <- ", "create new: uid 7"},
		{"a new account with nothing said", "new", schema.User{}, "create: present <- ", "create new: present"},
		{"an account that should not be", "deploy", absent, "delete:  <- uid 2001, shell /bin/sh, home /home/deploy, groups ops", "delete deploy"},
		{"an absent account is absent", "new", absent, "", ""},
		{"root is never deleted", "root", absent, "error: never deleted", ""},
		{"nor another account with its number", "toor", absent, "error: never deleted", ""},
		{"root keeps its number", "root", schema.User{UID: number(5)}, "error: number 0 is root's", ""},
		{"nobody gets root's number", "deploy", schema.User{UID: number(0)}, "error: number 0 is root's", ""},
		{"a number in use is named", "new", schema.User{UID: number(2001)}, `error: belongs to "deploy"`, ""},
		{"a missing group is named", "deploy", schema.User{Groups: []string{"ghosts"}}, `error: group "ghosts" does not exist`, ""},
		{"root's shell may be kept", "root", schema.User{UID: number(0), Shell: "/bin/sh"}, "update: shell /bin/sh <- shell /bin/bash", "change root: shell /bin/sh"},
		{"an option for a name", "-rf", schema.User{}, "error: cannot stand", ""},
		{"a second field", "a:b", schema.User{}, "error: cannot stand", ""},
		{"a second line", "deploy", schema.User{Shell: "/bin/sh\nevil:x:0:0::/:/bin/sh"}, "error: cannot stand", ""},
		{"a list for a group", "deploy", schema.User{Groups: []string{"ops,adm"}}, "error: is not a name", ""},
		{"a home that is not a path", "deploy", schema.User{Home: "home"}, "error: not an absolute path", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.State == "" {
				tt.want.State = schema.Present
			}
			asked = nil
			r := schema.Resource{Kind: schema.KindUser, Key: tt.user, Mode: schema.Enforce, User: &tt.want}
			got := Kind{host}.Check(t.Context(), []schema.Resource{r})[0]
			text := ""
			if got.Err != nil {
				text = got.Err.Error()
			}
			for _, d := range got.Drift {
				text += fmt.Sprintf("%s: %s <- %s", d.Action, d.Want, d.Got)
			}
			words, wantErr := strings.CutPrefix(tt.out, "error: ")
			if wantErr != (got.Err != nil) || !wantErr && text != tt.out || wantErr && !strings.Contains(text, words) {
				t.Errorf("Check = %q, want %q", text, tt.out)
			}
			if err := (Kind{host}).Apply(t.Context(), []schema.Resource{r})[0]; (err != nil) != wantErr {
				t.Errorf("Apply = %v", err)
			}
			if got := strings.Join(asked, "; "); got != tt.asks {
				t.Errorf("Apply asks %q, want %q", got, tt.asks)
			}
		})
	}
}
