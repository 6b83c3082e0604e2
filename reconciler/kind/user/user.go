// Package user checks and applies local accounts: those of passwd and group.
//
// Only what the policy names is kept: number, shell, home, and the supplementary groups
// that the account is at least in. Groups have to exist. A home is made with the
// account and never moved or removed. What belongs to root (number 0) is never deleted
// and keeps its number; no other account gets that number.
package user

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Host is the accounts of a host.
type Host interface {
	// Accounts gives all local accounts, with their supplementary groups sorted, and the names of all groups.
	Accounts() (users map[string]schema.User, groups map[string]bool, err error)
	// CreateUser makes an account and its home. ChangeUser sets the fields that want has, and adds it to the groups
	// that want names. DeleteUser removes the account and not its home.
	CreateUser(ctx context.Context, name string, want schema.User) error
	ChangeUser(ctx context.Context, name string, want schema.User) error
	DeleteUser(ctx context.Context, name string) error
}

// Kind checks and applies local accounts.
type Kind struct{ Host Host }

// Check tells for each resource, in order, how the host differs from it. It only reads.
func (k Kind) Check(ctx context.Context, rs []schema.Resource) []schema.Checked {
	out := make([]schema.Checked, len(rs))
	if len(rs) == 0 {
		return out
	}
	users, groups, err := k.Host.Accounts()
	for i, r := range rs {
		e := errors.Join(ctx.Err(), err)
		if e == nil {
			out[i].Drift, _, e = judge(r, users, groups)
		}
		if e != nil {
			out[i].Err = fmt.Errorf("check user %q: %w", r.Key, e)
		}
	}
	return out
}

// Apply makes each account as wanted and tells for each, in order, why it could not. What is right already is left alone.
func (k Kind) Apply(ctx context.Context, rs []schema.Resource) []error {
	errs := make([]error, len(rs))
	for i, r := range rs {
		if err := k.apply(ctx, r); err != nil {
			errs[i] = fmt.Errorf("apply user %q: %w", r.Key, err)
		}
	}
	return errs
}

func (k Kind) apply(ctx context.Context, r schema.Resource) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.Mode == schema.Audit {
		return errors.New("is only audited, not enforced")
	}
	// Read anew for each: one may have made what the next one needs.
	users, groups, err := k.Host.Accounts()
	if err != nil {
		return err
	}
	drift, change, err := judge(r, users, groups)
	if err != nil || len(drift) == 0 {
		return err
	}
	switch drift[0].Action {
	case schema.Create:
		return k.Host.CreateUser(ctx, r.Key, *r.User)
	case schema.Delete:
		return k.Host.DeleteUser(ctx, r.Key)
	}
	return k.Host.ChangeUser(ctx, r.Key, change)
}

// judge gives at most one difference, and of an account that exists the fields to change.
func judge(r schema.Resource, users map[string]schema.User, groups map[string]bool) (schema.Drift, schema.User, error) {
	change := schema.User{State: schema.Present}
	want := r.User
	if want == nil {
		return nil, change, errors.New("the resource says nothing about an account")
	}
	if err := want.Check(r.Key); err != nil {
		return nil, change, err
	}
	got, exists := users[r.Key]
	root := r.Key == "root" || exists && got.UID != nil && *got.UID == 0
	if want.State == schema.Absent {
		switch {
		case root:
			return nil, change, errors.New("is root's account: never deleted")
		case !exists:
			return nil, change, nil
		}
		return schema.Drift{{Action: schema.Delete, Got: describe(got)}}, change, nil
	}
	if want.UID != nil && (*want.UID == 0) != root {
		return nil, change, fmt.Errorf("uid %d: number 0 is root's and nobody else's", *want.UID)
	}
	for _, g := range want.Groups {
		if !groups[g] {
			return nil, change, fmt.Errorf("group %q does not exist on this host", g)
		}
	}
	if want.UID != nil && !(exists && got.UID != nil && *got.UID == *want.UID) {
		for name, u := range users {
			if name != r.Key && u.UID != nil && *u.UID == *want.UID {
				return nil, change, fmt.Errorf("uid %d belongs to %q already", *want.UID, name)
			}
		}
	}
	if !exists {
		return schema.Drift{{Action: schema.Create, Want: describe(*want)}}, change, nil
	}
	var have schema.User
	if want.UID != nil && (got.UID == nil || *want.UID != *got.UID) {
		change.UID, have.UID = want.UID, got.UID
	}
	if want.Shell != "" && want.Shell != got.Shell {
		change.Shell, have.Shell = want.Shell, got.Shell
	}
	if want.Home != "" && want.Home != got.Home {
		change.Home, have.Home = want.Home, got.Home
	}
	for _, g := range want.Groups {
		if !slices.Contains(got.Groups, g) {
			change.Groups, have.Groups = append(change.Groups, g), got.Groups
		}
	}
	if change.UID == nil && change.Shell == "" && change.Home == "" && change.Groups == nil {
		return nil, change, nil
	}
	gotText := describe(have)
	if gotText == "present" { // in no group yet
		gotText = "no groups"
	}
	return schema.Drift{{Action: schema.Update, Want: describe(change), Got: gotText}}, change, nil
}

// describe names the fields that are given.
func describe(u schema.User) string {
	var w []string
	if u.UID != nil {
		w = append(w, "uid "+strconv.FormatUint(uint64(*u.UID), 10))
	}
	if u.Shell != "" {
		w = append(w, "shell "+u.Shell)
	}
	if u.Home != "" {
		w = append(w, "home "+u.Home)
	}
	if len(u.Groups) > 0 {
		w = append(w, "groups "+strings.Join(u.Groups, ","))
	}
	if w == nil {
		return "present"
	}
	return strings.Join(w, ", ")
}
