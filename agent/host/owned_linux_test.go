package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOwnedRefusesWhatOthersCouldChange(t *testing.T) {
	const nobody = 65534
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, dir, file string)
		ok    bool
	}{
		"as made":                {func(*testing.T, string, string) {}, true},
		"a file for everybody":   {func(t *testing.T, _, file string) { owns(t, os.Chmod(file, 0o666)) }, false},
		"a file of somebody":     {func(t *testing.T, _, file string) { owns(t, os.Chown(file, nobody, 0)) }, false},
		"a folder of somebody":   {func(t *testing.T, dir, _ string) { owns(t, os.Chown(dir, nobody, 0)) }, false},
		"a folder for everybody": {func(t *testing.T, dir, _ string) { owns(t, os.Chmod(dir, 0o777)) }, false},
		"a sticky folder above":  {func(t *testing.T, dir, _ string) { owns(t, os.Chmod(dir, 0o777|os.ModeSticky)) }, true},
		"root's group":           {func(t *testing.T, _, file string) { owns(t, os.Chmod(file, 0o664)) }, true},
		"another group":          {func(t *testing.T, _, file string) { owns(t, os.Chown(file, 0, nobody)); owns(t, os.Chmod(file, 0o664)) }, false},
		"a link to another's": {func(t *testing.T, dir, file string) {
			other := filepath.Join(dir, "other")
			owns(t, os.WriteFile(other, nil, 0o600))
			owns(t, os.Chown(other, nobody, 0))
			owns(t, os.Remove(file))
			owns(t, os.Symlink(other, file))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			owns(t, os.Mkdir(dir, 0o700))
			file := filepath.Join(dir, "file")
			owns(t, os.WriteFile(file, nil, 0o600))
			tt.spoil(t, dir, file)
			if err := Owned(file); (err == nil) != tt.ok {
				t.Errorf("Owned = %v, want allowed %v", err, tt.ok)
			}
		})
	}
}

func TestTheStateFolderIsItsOwnersAlone(t *testing.T) {
	const nobody = 65534
	file := func(t *testing.T, path string) { owns(t, os.WriteFile(path, nil, 0o600)) }
	for name, tt := range map[string]struct {
		make func(t *testing.T, dir string)
		ok   bool
	}{
		"there is none":          {func(t *testing.T, dir string) { owns(t, os.Remove(dir)) }, true},
		"empty and open":         {func(t *testing.T, dir string) { owns(t, os.Chmod(dir, 0o755)) }, true},
		"ours from before, open": {func(t *testing.T, dir string) { file(t, dir+"/lock"); owns(t, os.Chmod(dir, 0o755)) }, true},
		"closed, with anything":  {func(t *testing.T, dir string) { file(t, dir+"/x") }, true},
		"open, with another's":   {func(t *testing.T, dir string) { file(t, dir+"/x"); owns(t, os.Chmod(dir, 0o755)) }, false},
		"a lock of somebody": {func(t *testing.T, dir string) {
			file(t, dir+"/lock")
			owns(t, os.Chown(dir+"/lock", nobody, 0))
			owns(t, os.Chmod(dir, 0o755))
		}, false},
		"a lock that is a folder": {func(t *testing.T, dir string) { owns(t, os.Mkdir(dir+"/lock", 0o700)); owns(t, os.Chmod(dir, 0o755)) }, false},
		"others may write":        {func(t *testing.T, dir string) { owns(t, os.Chmod(dir, 0o777)) }, false},
		"another's":               {func(t *testing.T, dir string) { owns(t, os.Chown(dir, nobody, 0)) }, false},
		"a file":                  {func(t *testing.T, dir string) { owns(t, os.Remove(dir)); file(t, dir) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			owns(t, os.Mkdir(dir, 0o700))
			tt.make(t, dir)
			before, _ := os.Lstat(dir)
			err := StateFolder(dir, "lock")
			if (err == nil) != tt.ok {
				t.Errorf("StateFolder = %v, want allowed %v", err, tt.ok)
			}
			after, e := os.Lstat(dir)
			owns(t, e)
			if tt.ok && after.Mode() != os.ModeDir|0o700 {
				t.Errorf("its mode is %v, want 0700", after.Mode())
			}
			if !tt.ok && before.Mode() != after.Mode() {
				t.Errorf("one that is refused was changed from %v to %v", before.Mode(), after.Mode())
			}
		})
	}
}

func owns(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
