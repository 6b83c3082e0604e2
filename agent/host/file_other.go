//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/dunlin-dev/dunlin/schema"
)

var errNoFiles = fmt.Errorf("managed files on this operating system: %w", errors.ErrUnsupported)

// LookFiles reports that files are not managed on this operating system yet.
func (s System) LookFiles(_ context.Context, rs []schema.Resource, found func(i int, got schema.File, blob schema.Blob, err error)) {
	for i := range rs {
		found(i, schema.File{}, schema.Blob{}, errNoFiles)
	}
}

// WriteFile returns an error that wraps errors.ErrUnsupported.
func (s System) WriteFile(context.Context, string, schema.File, []byte) error { return errNoFiles }

// ChangeFile returns an error that wraps errors.ErrUnsupported.
func (s System) ChangeFile(context.Context, string, schema.File) error { return errNoFiles }

// RemoveFile returns an error that wraps errors.ErrUnsupported.
func (s System) RemoveFile(context.Context, string) error { return errNoFiles }
