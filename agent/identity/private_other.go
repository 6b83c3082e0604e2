//go:build !unix

package identity

import (
	"errors"
	"fmt"
)

// supported says that no owner of a file is known here, so that a key could not be kept from others.
func supported() error { return fmt.Errorf("keep keys from other users: %w", errors.ErrUnsupported) }

func checkFolder(string) error { return supported() }

func readPrivate(string) ([]byte, error) { return nil, supported() }
