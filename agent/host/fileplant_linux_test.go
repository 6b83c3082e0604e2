package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/reconciler/kind/file"
	"github.com/dunlin-dev/dunlin/schema"
)

// oneSecret is a parameter that this host can read.
type oneSecret string

func (s oneSecret) Look(string) (schema.Blob, error) {
	sum := sha256.Sum256([]byte(s))
	return schema.Blob{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(s))}, nil
}
func (oneSecret) Digest(_, sum string) (string, error)  { return sum, nil }
func (s oneSecret) Open(string) ([]byte, func(), error) { return []byte(s), func() {}, nil }
func secretFile(f schema.File) schema.File {
	f.ContentFrom = &schema.ContentFrom{Parameter: "/x"}
	return f
}
func aclOf(path string) ([]byte, error) {
	b := make([]byte, 200)
	n, err := unix.Getxattr(path, accessList, b)
	return b[:max(n, 0)], err
}
func applied(t *testing.T, s System, path string, f schema.File) *syscall.Stat_t {
	t.Helper()
	k := file.Kind{Host: s, Secrets: oneSecret("canary-hunter2")}
	if err := k.Apply(t.Context(), []schema.Resource{fileResource(path, f)})[0]; err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(s.Root+path, &st); err != nil {
		t.Fatal(err)
	}
	return &st
}

// eve is user 1 of group 50. The list is user::rw- user:1:rw- group::r-- mask::rw- other::---, version 2.
const eve, evesGroup = 1, 50

var evesList = []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\x01\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")

// A user who puts a file where a secret will be written, or owns the folder, is not given the secret by it.
func TestAPlantedFileIsGivenNoSecret(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		folderUID, folderGID int
		folderMode           os.FileMode
		fileUID, fileGID     int // -1: there is none
		list, inherited      bool
		want                 schema.File
		uid, gid             uint32
		keepsList            bool
	}{
		"nothing is given, in a folder for all":       {0, 0, 0o777 | os.ModeSticky, eve, evesGroup, true, false, schema.File{Mode: "0600"}, 0, 0, false},
		"nothing is given, in a folder of hers":       {eve, evesGroup, 0o755, eve, evesGroup, true, false, schema.File{Mode: "0640"}, 0, 0, false},
		"nothing is given, in a folder of her group":  {0, evesGroup, 0o775, eve, evesGroup, false, false, schema.File{Mode: "0640"}, 0, 0, false},
		"the owner is given":                          {0, 0, 0o777 | os.ModeSticky, eve, evesGroup, true, false, schema.File{Mode: "0640", Owner: "2"}, 2, 0, false},
		"owner and group are given":                   {eve, evesGroup, 0o755, eve, evesGroup, true, false, schema.File{Mode: "0640", Owner: "0", Group: "60"}, 0, 60, false},
		"the folder gives a list to a new one":        {eve, evesGroup, 0o755, -1, -1, false, true, schema.File{Mode: "0640", Owner: "0", Group: "60"}, 0, 60, false},
		"the folder gave a list to root's":            {eve, evesGroup, 0o755, 0, 60, true, true, schema.File{Mode: "0640", Owner: "0", Group: "60"}, 0, 60, false},
		"what root made for a user stays theirs":      {0, 0, 0o755, eve, evesGroup, true, false, schema.File{Mode: "0640"}, eve, evesGroup, true},
		"the owner is the wanted one, and chose more": {eve, evesGroup, 0o755, eve, evesGroup, true, false, schema.File{Mode: "0640", Owner: "1"}, eve, evesGroup, true},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, s System) {
				dir, path := s.Root+"/srv", s.Root+"/srv/pass"
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if tt.fileUID >= 0 {
					put(t, path, "planted", 0o600)
					if err := os.Chown(path, tt.fileUID, tt.fileGID); err != nil {
						t.Fatal(err)
					}
				}
				lists := true
				set := func(path, attr string) {
					if err := unix.Setxattr(path, attr, evesList, 0); err == unix.EOPNOTSUPP {
						lists = false
					} else if err != nil {
						t.Fatal(err)
					}
				}
				if tt.list {
					set(path, accessList)
				}
				if tt.inherited {
					set(dir, "system.posix_acl_default")
				}
				if err := os.Chown(dir, tt.folderUID, tt.folderGID); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(dir, tt.folderMode); err != nil {
					t.Fatal(err)
				}
				st := applied(t, s, "/srv/pass", secretFile(tt.want))
				if st.Uid != tt.uid || st.Gid != tt.gid {
					t.Errorf("the secret is %d:%d's, want %d:%d", st.Uid, st.Gid, tt.uid, tt.gid)
				}
				if got, err := aclOf(path); lists && (err == nil) != tt.keepsList {
					t.Errorf("access control list %x, %v", got, err)
				}
			})
		})
	}
}

// Who had a file open for writing does not write to it once it is another's.
func TestAFileThatIsHeldOpenIsNotTakenOver(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		uid, gid int
		mode     os.FileMode
		want     schema.File
	}{
		"the owner goes":          {eve, 0, 0o644, schema.File{Owner: "0"}},
		"the group goes":          {0, evesGroup, 0o664, schema.File{Group: "0"}},
		"all could write":         {0, 0, 0o666, schema.File{Mode: "0644"}},
		"the group could write":   {0, evesGroup, 0o664, schema.File{Mode: "0644"}},
		"a secret, the owner too": {eve, 0, 0o600, secretFile(schema.File{Owner: "0", Mode: "0600"})},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, s System) {
				path := s.Root + "/etc/job"
				put(t, path, "canary-hunter2", tt.mode)
				if err := os.Chown(path, tt.uid, tt.gid); err != nil {
					t.Fatal(err)
				}
				open, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer open.Close()
				if tt.want.ContentFrom == nil {
					tt.want.Content = ptr("canary-hunter2")
				}
				applied(t, s, "/etc/job", tt.want)
				if _, err := open.WriteString("evil"); err != nil {
					t.Fatal(err)
				}
				if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte("evil")) {
					t.Errorf("the file is now %q, %v", b, err)
				}
			})
		})
	}
}

// A policy that gives a mode and no content makes nobody's own program one of root's.
func TestRightsAreNotLentToWhatOthersWrote(t *testing.T) {
	needRoot(t)
	for name, tt := range map[string]struct {
		uid, gid int
		mode     os.FileMode
		want     schema.File
		refused  bool
	}{
		"root's rights to what she made":       {eve, evesGroup, 0o755, schema.File{Mode: "4755", Owner: "0"}, true},
		"a group's rights to what she made":    {eve, evesGroup, 0o755, schema.File{Mode: "2755", Group: "42"}, true},
		"root's rights to what all can write":  {0, 0, 0o777, schema.File{Mode: "4755"}, true},
		"root's rights to what a group writes": {0, evesGroup, 0o775, schema.File{Mode: "4755"}, true},
		"her own rights":                       {eve, evesGroup, 0o755, schema.File{Mode: "4755", Owner: "1"}, false},
		"root's rights to what is root's":      {0, 0, 0o755, schema.File{Mode: "4755"}, false},
		"no rights":                            {eve, evesGroup, 0o755, schema.File{Mode: "0700", Owner: "0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, s System) {
				path := s.Root + "/etc/tool"
				put(t, path, "tool", 0o600)
				if err := os.Chown(path, tt.uid, tt.gid); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, tt.mode); err != nil {
					t.Fatal(err)
				}
				before := tree(t, path)
				err := (file.Kind{Host: s}).Apply(t.Context(), []schema.Resource{fileResource("/etc/tool", tt.want)})[0]
				if (err != nil) != tt.refused {
					t.Errorf("Apply = %v", err)
				}
				if after := tree(t, path); tt.refused && after != before {
					t.Errorf("the file is now %s, was %s", after, before)
				}
			})
		})
	}
}
