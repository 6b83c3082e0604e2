//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
)

func listUnits(context.Context) ([]LoadedUnit, error) {
	return nil, fmt.Errorf("list units: %w", errors.ErrUnsupported)
}
