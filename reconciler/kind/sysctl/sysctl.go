// Package sysctl checks and applies kernel parameters, now and at the next boot.
//
// A parameter is right when the kernel has the value and, where it is enforced, our own
// file of sysctl.d has a line for it. Blanks and tabs between the words of a value do
// not count. What leaves the policy keeps its value and loses its line.
package sysctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxValue bounds a value, in bytes: the kernel takes a page at a time.
const maxValue = 4095

// Host is the kernel's parameters and the file that sets them at boot.
type Host interface {
	// ReadSysctl gives a value as the kernel writes it. The error wraps fs.ErrNotExist if there is no such key.
	ReadSysctl(key string) (string, error)
	WriteSysctl(key, value string) error
	// BootSysctls gives the lines of our own file; SetBootSysctls replaces them.
	BootSysctls() (map[string]string, error)
	SetBootSysctls(map[string]string) error
}

// Kind checks and applies kernel parameters.
type Kind struct{ Host Host }

// Check tells for each resource, in order, how the host differs from it. It only reads.
func (k Kind) Check(ctx context.Context, rs []schema.Resource) []schema.Checked {
	out := make([]schema.Checked, len(rs))
	if len(rs) == 0 {
		return out
	}
	boot, bootErr := k.Host.BootSysctls()
	for i, r := range rs {
		err := ctx.Err()
		if err == nil {
			out[i].Drift, err = k.check(r, boot, bootErr)
		}
		if err != nil {
			out[i].Err = fmt.Errorf("check sysctl %q: %w", r.Key, err)
		}
	}
	return out
}

func (k Kind) check(r schema.Resource, boot map[string]string, bootErr error) (schema.Drift, error) {
	if bootErr != nil && r.Mode != schema.Audit {
		return nil, bootErr
	}
	line, kept := boot[r.Key]
	if r.Released {
		if !kept {
			return nil, nil
		}
		return schema.Drift{{Action: schema.Delete, Got: line + " at boot"}}, nil
	}
	want, err := value(r)
	if err != nil {
		return nil, err
	}
	got, err := k.Host.ReadSysctl(r.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this kernel has no such parameter (is a module not loaded?): %w", err)
	}
	if err != nil {
		return nil, err
	}
	if got = normal(got); got != want {
		return schema.Drift{{Action: schema.Update, Want: want, Got: got}}, nil
	}
	// Elsewhere it may be set at boot too; an audit asks only what is.
	if r.Mode != schema.Audit && (!kept || normal(line) != want) {
		d := schema.Difference{Action: schema.Update, Want: want + " at boot"}
		if kept {
			d.Got = normal(line) + " at boot"
		}
		return schema.Drift{d}, nil
	}
	return nil, nil
}

// Apply sets each parameter and tells for each, in order, why it could not. What is right already is left alone.
func (k Kind) Apply(ctx context.Context, rs []schema.Resource) []error {
	errs := make([]error, len(rs))
	if len(rs) == 0 {
		return errs
	}
	boot, bootErr := k.Host.BootSysctls()
	lines := maps.Clone(boot)
	if lines == nil {
		lines = map[string]string{}
	}
	var changed []int // resources that wait for the file
	for i, r := range rs {
		errs[i] = k.apply(ctx, r, lines, bootErr)
		if errs[i] == nil && lines[r.Key] != boot[r.Key] {
			changed = append(changed, i)
		}
	}
	if len(changed) > 0 {
		if err := k.Host.SetBootSysctls(lines); err != nil {
			for _, i := range changed {
				errs[i] = fmt.Errorf("keep it at boot: %w", err)
			}
		}
	}
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("apply sysctl %q: %w", rs[i].Key, err)
		}
	}
	return errs
}

// apply sets the value now and puts its line into lines.
func (k Kind) apply(ctx context.Context, r schema.Resource, lines map[string]string, bootErr error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.Mode == schema.Audit {
		return errors.New("is only audited, not enforced")
	}
	if bootErr != nil {
		return bootErr
	}
	if r.Released {
		delete(lines, r.Key)
		return nil
	}
	want, err := value(r)
	if err != nil {
		return err
	}
	got, err := k.Host.ReadSysctl(r.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("this kernel has no such parameter (is a module not loaded?): %w", err)
	}
	if err != nil {
		return err
	}
	if normal(got) != want {
		if err := k.Host.WriteSysctl(r.Key, want); err != nil {
			return err
		}
	}
	if normal(lines[r.Key]) != want {
		lines[r.Key] = want
	}
	return nil
}

// Stale lists the parameters that we keep at boot and that no policy names any more.
func (k Kind) Stale(_ context.Context, wanted []schema.Resource) ([]schema.Resource, error) {
	boot, err := k.Host.BootSysctls()
	if err != nil {
		return nil, fmt.Errorf("list sysctls kept at boot: %w", err)
	}
	boot = maps.Clone(boot)
	for _, r := range wanted {
		if r.Kind == schema.KindSysctl && !r.Released {
			delete(boot, r.Key)
		}
	}
	var out []schema.Resource
	for _, key := range slices.Sorted(maps.Keys(boot)) {
		out = append(out, schema.Resource{Kind: schema.KindSysctl, Key: key, Mode: schema.Enforce, Severity: schema.Unspecified, Released: true})
	}
	return out, nil
}

// value is what is wanted, checked once more: a line break in it would be a second line of a file of root's.
func value(r schema.Resource) (string, error) {
	if r.Sysctl == nil {
		return "", errors.New("the resource says no value")
	}
	v := normal(*r.Sysctl)
	switch {
	case strings.ContainsAny(*r.Sysctl, "\n\r\x00"):
		return "", fmt.Errorf("value %q has a line break", *r.Sysctl)
	case len(v) > maxValue:
		return "", fmt.Errorf("value of %d bytes is over %d", len(v), maxValue)
	}
	return v, nil
}

// normal writes one blank between the words of a value.
func normal(v string) string { return strings.Join(strings.Fields(v), " ") }
