//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// BlockedPorts is not to be had on this system: the error wraps errors.ErrUnsupported.
func (s System) BlockedPorts(context.Context) (map[schema.BlockedPort]time.Duration, bool, error) {
	return nil, false, fmt.Errorf("blocked ports: %w", errors.ErrUnsupported)
}

// SetBlockedPorts is not to be had on this system: the error wraps errors.ErrUnsupported.
func (s System) SetBlockedPorts(context.Context, map[schema.BlockedPort]time.Duration) error {
	return fmt.Errorf("blocked ports: %w", errors.ErrUnsupported)
}

// SSHSessions is not to be had on this system: the error wraps errors.ErrUnsupported.
func (s System) SSHSessions(context.Context) ([]schema.SSHSession, error) {
	return nil, fmt.Errorf("find SSH sessions: %w", errors.ErrUnsupported)
}
