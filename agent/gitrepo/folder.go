package gitrepo

import (
	"io/fs"
	"os"
	"path/filepath"
)

// folder is os.DirFS that never follows a link: a link opens as an error, and lists as a link.
type folder struct{ root string }

// Open opens a regular file or a folder. Parents were listed before they are entered, and a listed
// link is never entered, so only the last component needs the check.
func (f folder) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	path := filepath.Join(f.root, filepath.FromSlash(name))
	if name != "." {
		info, err := os.Lstat(path)
		if err != nil {
			return nil, short(name, err)
		}
		if !info.Mode().IsRegular() && !info.IsDir() {
			return nil, &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
		}
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, short(name, err)
	}
	return file, nil
}

// Lstat describes name itself, also where it is a link.
func (f folder) Lstat(name string) (fs.FileInfo, error) {
	info, err := os.Lstat(filepath.Join(f.root, filepath.FromSlash(name)))
	return info, short(name, err)
}

// ReadLink is where a link points; it is given so that fs.ReadLink works, and nobody follows it.
func (f folder) ReadLink(name string) (string, error) {
	to, err := os.Readlink(filepath.Join(f.root, filepath.FromSlash(name)))
	return to, short(name, err)
}

// ReadDir lists a folder, sorted.
func (f folder) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := os.ReadDir(filepath.Join(f.root, filepath.FromSlash(name)))
	return list, short(name, err)
}

// short names the file as the repository does, not with the path of this machine.
func short(name string, err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return &fs.PathError{Op: pe.Op, Path: name, Err: pe.Err}
	}
	return err
}
