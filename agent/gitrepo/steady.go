package gitrepo

import (
	"errors"
	"io/fs"
	"os"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
)

// steady lists folders that others write to at the same time. osfs fails where a file goes while its folder is read, as
// temporary ones do, and go-git takes that for a folder that is not there: for a repository without packs, or references.
type steady struct{ billy.Filesystem }

// readTries is how often a folder is read that is there and says that it is not.
const readTries = 100

func repositoryFiles(dir string) billy.Filesystem { return steady{osfs.New(dir)} }

func (s steady) ReadDir(path string) (list []os.FileInfo, err error) {
	for range readTries {
		list, err = s.Filesystem.ReadDir(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return list, err
		}
		if _, gone := s.Lstat(path); gone != nil {
			return nil, err
		}
	}
	return nil, errors.New("the folder changes too fast to be read")
}

// Capabilities are those of what is wrapped.
func (s steady) Capabilities() billy.Capability { return billy.Capabilities(s.Filesystem) }
