//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/dunlin-dev/dunlin/schema"
)

var (
	errNoSysctls = fmt.Errorf("kernel parameters on this operating system: %w", errors.ErrUnsupported)
	errNoUsers   = fmt.Errorf("local accounts on this operating system: %w", errors.ErrUnsupported)
)

// ReadSysctl returns an error that wraps errors.ErrUnsupported.
func (s System) ReadSysctl(string) (string, error) { return "", errNoSysctls }

// WriteSysctl returns an error that wraps errors.ErrUnsupported.
func (s System) WriteSysctl(string, string) error { return errNoSysctls }

// BootSysctls returns nothing: no file of ours is on this operating system.
func (s System) BootSysctls() (map[string]string, error) { return nil, nil }

// SetBootSysctls returns an error that wraps errors.ErrUnsupported.
func (s System) SetBootSysctls(map[string]string) error { return errNoSysctls }

// Accounts returns an error that wraps errors.ErrUnsupported.
func (s System) Accounts() (map[string]schema.User, map[string]bool, error) {
	return nil, nil, errNoUsers
}

// CreateUser returns an error that wraps errors.ErrUnsupported.
func (s System) CreateUser(context.Context, string, schema.User) error { return errNoUsers }

// ChangeUser returns an error that wraps errors.ErrUnsupported.
func (s System) ChangeUser(context.Context, string, schema.User) error { return errNoUsers }

// DeleteUser returns an error that wraps errors.ErrUnsupported.
func (s System) DeleteUser(context.Context, string) error { return errNoUsers }
