//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
)

// NewSystem is the machine that the program runs on.
func NewSystem() System { return System{} }

// Watch wraps errors.ErrUnsupported here: drift is found by looking from time to time.
func (s System) Watch(context.Context, Watched) (<-chan []Drift, error) {
	return nil, fmt.Errorf("watch host: %w", errors.ErrUnsupported)
}
