//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
)

func run(_ context.Context, c Command) (Output, error) {
	return Output{ExitCode: -1}, fmt.Errorf("run %q: %w", c.Path, errors.ErrUnsupported)
}
