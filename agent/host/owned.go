package host

import "errors"

// ErrNotOwned says that somebody else could change a file of the program's own.
var ErrNotOwned = errors.New("not trusted")
