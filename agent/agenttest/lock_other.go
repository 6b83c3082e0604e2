//go:build !linux

package agenttest

import (
	"errors"
	"fmt"
	"os"
)

func lockFile(name string, _ bool) (*os.File, error) {
	return nil, fmt.Errorf("lock %q: %w", name, errors.ErrUnsupported)
}
