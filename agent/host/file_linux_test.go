package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/reconciler/kind/file"
	"github.com/dunlin-dev/dunlin/schema"
)

// bothWays runs a test with openat2 and without.
func bothWays(t *testing.T, f func(t *testing.T, s System)) {
	t.Helper()
	for _, stepwise := range []bool{false, true} {
		t.Run(fmt.Sprintf("stepwise=%v", stepwise), func(t *testing.T) {
			s := System{Root: t.TempDir(), stepwise: stepwise}
			put(t, s.Root+"/etc/passwd", passwdText, 0o644)
			put(t, s.Root+"/etc/group", groupText, 0o644)
			f(t, s)
		})
	}
}

func TestOpenat2IsThereWhereTheTestsClaimIt(t *testing.T) {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		t.Fatal("this kernel or its seccomp filter has no openat2, which half of these tests are about: ", err)
	}
	unix.Close(fd)
}

func TestWhatIsNotAPlainFileIsNeverFollowedOrReplaced(t *testing.T) {
	needRoot(t)
	bothWays(t, func(t *testing.T, s System) {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		put(t, s.Root+"/real/inner/x", "real", 0o644)
		put(t, s.Root+"/etc/two", "two", 0o644)
		put(t, s.Root+"/etc/mounted", "m", 0o644)
		must(os.Link(s.Root+"/etc/two", s.Root+"/etc/two-again"))
		must(os.Symlink("two", s.Root+"/etc/link"))
		must(os.Symlink("nowhere", s.Root+"/etc/dangling"))
		must(os.Symlink("/real", s.Root+"/lib"))
		must(os.Symlink("../lib/inner", s.Root+"/real/around"))
		must(os.Symlink("loop", s.Root+"/loop"))
		must(os.Mkdir(s.Root+"/etc/folder", 0o755))
		must(unix.Mkfifo(s.Root+"/etc/pipe", 0o644))
		must(unix.Mknod(s.Root+"/etc/device", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		must(unix.Mount(s.Root+"/real/inner/x", s.Root+"/etc/mounted", "", unix.MS_BIND, ""))
		t.Cleanup(func() { unix.Unmount(s.Root+"/etc/mounted", unix.MNT_DETACH) })
		k := file.Kind{Host: s}
		before := tree(t, s.Root)
		for path, want := range map[string]string{
			"/etc/link":      `is a link to "two"`,
			"/etc/dangling":  `is a link to "nowhere"`,
			"/etc/two":       "has 2 hard links",
			"/etc/folder":    "is a folder, not a regular file",
			"/etc/pipe":      "is a named pipe",
			"/etc/device":    "is a device",
			"/etc/mounted":   "is a mount point",
			"/lib/inner/x":   `parent "/lib" is a link; the real folder to write is "/real/inner"`,
			"/lib/around/x":  `parent "/lib" is a link; the real folder to write is "/real/inner"`,
			"/real/around/x": `parent "/real/around" is a link; the real folder to write is "/real/inner"`,
			"/loop/x":        `parent "/loop" is a link that leads nowhere`,
			"/etc/two/x":     `parent "/etc/two" is a file, not a folder`,
			"/etc//x":        "not a clean absolute path",
			"/etc/../x":      "not a clean absolute path",
			"etc/x":          "not a clean absolute path",
			"/":              "not a clean absolute path",
			"/etc/a\x00b":    "not a clean absolute path",
		} {
			for _, r := range []schema.Resource{
				fileResource(path, schema.File{Content: ptr("evil")}), fileResource(path, schema.File{State: schema.Absent}), fileResource(path, schema.File{Mode: "4777"}),
			} {
				if c := k.Check(t.Context(), []schema.Resource{r})[0]; c.Err == nil || !strings.Contains(c.Err.Error(), want) {
					t.Errorf("Check(%q, %s) = %+v, %v, want error %q", path, r.File.State, c.Drift, c.Err, want)
				}
				if err := k.Apply(t.Context(), []schema.Resource{r})[0]; err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Apply(%q, %s) = %v, want error %q", path, r.File.State, err, want)
				}
			}
			// The host refuses for itself too, whoever asks.
			for what, err := range map[string]error{
				"WriteFile":  s.WriteFile(t.Context(), path, schema.File{State: schema.Present}, []byte("evil")),
				"ChangeFile": s.ChangeFile(t.Context(), path, schema.File{State: schema.Present, Mode: "4777"}),
				"RemoveFile": s.RemoveFile(t.Context(), path),
			} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s(%q) = %v, want %q", what, path, err, want)
				}
			}
		}
		if after := tree(t, s.Root); after != before {
			t.Errorf("something was changed:\n%s\nwas:\n%s", after, before)
		}
	})
}

func TestParentsAreNotMadeAndNamed(t *testing.T) {
	bothWays(t, func(t *testing.T, s System) {
		k := file.Kind{Host: s}
		r := fileResource("/etc/a/b/c", schema.File{Content: ptr("x")})
		if err := k.Check(t.Context(), []schema.Resource{r})[0].Err; err == nil || !strings.Contains(err.Error(), `parent "/etc/a" does not exist`) || strings.Contains(err.Error(), fs.ErrNotExist.Error()) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Check = %v", err)
		}
		r.File = &schema.File{State: schema.Absent}
		if c := k.Check(t.Context(), []schema.Resource{r})[0]; c.Err != nil || len(c.Drift) != 0 {
			t.Errorf("Check of an absent file below a missing folder = %+v", c)
		}
	})
}

func TestUnknownOwnersAreNamed(t *testing.T) {
	bothWays(t, func(t *testing.T, s System) {
		for want, f := range map[string]schema.File{`user "nobody-here"`: {Owner: "nobody-here"}, `group "none"`: {Group: "none"}} {
			f.Content = ptr("x")
			r := fileResource("/etc/x", f)
			if err := (file.Kind{Host: s}).Apply(t.Context(), []schema.Resource{r})[0]; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Apply = %v, want %q", err, want)
			}
		}
	})
}

func TestWhatIsNotGivenIsKept(t *testing.T) {
	needRoot(t)
	bothWays(t, func(t *testing.T, s System) {
		path := s.Root + "/etc/x"
		put(t, path, "old", 0o600)
		if err := os.Chown(path, 1, 50); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		// user::rw- user:1:rw- group::r-- mask::rw- other::---, version 2
		acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\x01\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")
		aclErr := unix.Setxattr(path, "system.posix_acl_access", acl, 0)
		var before, after unix.Stat_t
		if err := unix.Stat(path, &before); err != nil {
			t.Fatal(err)
		}
		k := file.Kind{Host: s}
		if err := k.Apply(t.Context(), []schema.Resource{fileResource("/etc/x", schema.File{Content: ptr("new")})})[0]; err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(path, &after); err != nil {
			t.Fatal(err)
		}
		if after.Mode != before.Mode || after.Uid != 1 || after.Gid != 50 || after.Ino == before.Ino {
			t.Errorf("after the write: mode %o, owner %d:%d, want %o, 1:50 and a new inode", after.Mode, after.Uid, after.Gid, before.Mode)
		}
		if aclErr == nil {
			got := make([]byte, 200)
			if n, err := unix.Getxattr(path, "system.posix_acl_access", got); err != nil || !bytes.Equal(got[:n], acl) {
				t.Errorf("access control list after the write = %x, %v", got[:max(n, 0)], err)
			}
		} else if !errors.Is(aclErr, unix.EOPNOTSUPP) {
			t.Error(aclErr)
		}
	})
}

func TestSetuidIsOnlyLentToANewInode(t *testing.T) {
	needRoot(t)
	bothWays(t, func(t *testing.T, s System) {
		put(t, s.Root+"/etc/x", "tool", 0o755)
		var before, after syscall.Stat_t
		syscall.Stat(s.Root+"/etc/x", &before)
		r := fileResource("/etc/x", schema.File{Content: ptr("tool"), Mode: "4755", Owner: "1", Group: "1"})
		if err := (file.Kind{Host: s}).Apply(t.Context(), []schema.Resource{r})[0]; err != nil {
			t.Fatal(err)
		}
		if syscall.Stat(s.Root+"/etc/x", &after); after.Ino == before.Ino || after.Mode&0o7777 != 0o4755 || after.Uid != 1 {
			t.Errorf("inode %d was %d, mode %o, uid %d", after.Ino, before.Ino, after.Mode, after.Uid)
		}
		r.File.Mode = "0755" // mode alone: in place
		before = after
		if err := (file.Kind{Host: s}).Apply(t.Context(), []schema.Resource{r})[0]; err != nil {
			t.Fatal(err)
		}
		if syscall.Stat(s.Root+"/etc/x", &after); after.Ino != before.Ino || after.Mode&0o7777 != 0o755 {
			t.Errorf("inode %d was %d, mode %o", after.Ino, before.Ino, after.Mode)
		}
	})
}

func TestAFullDiskLeavesTheOldFile(t *testing.T) {
	needRoot(t)
	bothWays(t, func(t *testing.T, s System) {
		disk := s.Root + "/small"
		if err := os.Mkdir(disk, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
		put(t, disk+"/x", "old", 0o644)
		before := tree(t, disk+"/x")
		r := fileResource("/small/x", schema.File{Content: ptr(strings.Repeat("x", 200000))})
		err := (file.Kind{Host: s}).Apply(t.Context(), []schema.Resource{r})[0]
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `"/small/x"`) {
			t.Errorf("Apply = %v, want no space left", err)
		}
		if after := tree(t, disk+"/x"); after != before {
			t.Errorf("the old file is now %.200s", after)
		}
		if entries, _ := os.ReadDir(disk); len(entries) != 1 {
			t.Errorf("left in the folder: %v", entries)
		}
	})
}

func TestASweepTakesOnlyWhatAKilledRunLeft(t *testing.T) {
	s := System{Root: t.TempDir()}
	ours := s.Root + "/.dunlin-0123456789abcdef"
	busy := s.Root + "/.dunlin-00000000000000aa"
	for _, p := range []string{ours, busy, s.Root + "/.dunlin-0123456789ABCDEF", s.Root + "/.dunlin-1", s.Root + "/.dunlin-0123456789abcdef0"} {
		put(t, p, "x", 0o600)
	}
	if err := os.Mkdir(s.Root+"/.dunlin-00000000000000bb", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("x", s.Root+"/.dunlin-00000000000000cc"); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteFile(t.Context(), "/x", schema.File{State: schema.Present}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.Root)
	if err != nil || len(entries) != 7 { // all but ours, and x
		t.Errorf("in the folder: %v, %v", entries, err)
	}
	if _, err := os.Lstat(ours); err == nil {
		t.Error("the leftover is still there")
	}
}

func TestAFileSwappedDuringAWriteIsNotReplaced(t *testing.T) {
	needRoot(t)
	for name, swap := range map[string]func(path string) error{
		"a link": func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/shadow", p)) },
		"another file": func(p string) error {
			return errors.Join(os.WriteFile(p+".n", []byte("theirs"), 0o644), os.Rename(p+".n", p))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := System{Root: t.TempDir()}
			put(t, s.Root+"/x", "old", 0o644)
			s.step = func(what string) {
				if what == "fsync" {
					if err := swap(s.Root + "/x"); err != nil {
						t.Fatal(err)
					}
				}
			}
			err := s.WriteFile(t.Context(), "/x", schema.File{State: schema.Present}, []byte("new"))
			if err == nil {
				t.Error("WriteFile replaced what somebody else put there")
			}
			if left, _ := filepath.Glob(s.Root + "/.dunlin-*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A parent that becomes a link between two steps of a write leads it nowhere: what was opened stays what it is.
func TestAFolderSwappedDuringAWriteLeadsNowhere(t *testing.T) {
	needRoot(t)
	for _, at := range []string{"create", "chown", "write", "fsync", "rename", "sync folder"} {
		t.Run(at, func(t *testing.T) {
			bothWays(t, func(t *testing.T, s System) {
				put(t, s.Root+"/srv/app/conf", "old", 0o644)
				put(t, s.Root+"/victim/conf", "precious", 0o600)
				swapped := false
				s.step = func(what string) {
					if what == at && !swapped {
						swapped = true
						if err := errors.Join(os.Rename(s.Root+"/srv/app", s.Root+"/srv/was"), os.Symlink("../victim", s.Root+"/srv/app")); err != nil {
							t.Error(err)
						}
					}
				}
				err := s.WriteFile(t.Context(), "/srv/app/conf", schema.File{State: schema.Present}, []byte("new"))
				if !swapped {
					t.Fatalf("no step %q", at)
				}
				untouched(t, s)
				if got, _ := os.ReadFile(s.Root + "/srv/was/conf"); err != nil || string(got) != "new" {
					t.Errorf("the folder that was opened has %q, %v", got, err)
				}
				s.step = nil
				for what, err := range map[string]error{
					"write":  s.WriteFile(t.Context(), "/srv/app/conf", schema.File{State: schema.Present}, []byte("new")),
					"change": s.ChangeFile(t.Context(), "/srv/app/conf", schema.File{State: schema.Present, Mode: "0666"}),
					"remove": s.RemoveFile(t.Context(), "/srv/app/conf"),
				} {
					if err == nil || !strings.Contains(err.Error(), "is a link") {
						t.Errorf("%s below a link: %v", what, err)
					}
				}
				untouched(t, s)
			})
		})
	}
}

// untouched fails where a write of /srv/app/conf has reached /victim.
func untouched(t *testing.T, s System) {
	t.Helper()
	entries, err := os.ReadDir(s.Root + "/victim")
	info, e := os.Lstat(s.Root + "/victim/conf")
	got, _ := os.ReadFile(s.Root + "/victim/conf")
	if err != nil || e != nil || len(entries) != 1 || string(got) != "precious" || info.Mode().Perm() != 0o600 {
		t.Fatalf("another folder was reached: %v, conf is %q, %v", entries, got, e)
	}
}

// While somebody swaps a parent for a link to a folder of root's as fast as they can, no write, change or removal ever
// arrives there.
func TestALinkThatComesAndGoesLeadsNowhere(t *testing.T) {
	needRoot(t)
	bothWays(t, func(t *testing.T, s System) {
		put(t, s.Root+"/srv/app/conf", "old", 0o644)
		put(t, s.Root+"/victim/conf", "precious", 0o600)
		if err := os.Symlink("../victim", s.Root+"/srv/link"); err != nil {
			t.Fatal(err)
		}
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default: // the folder and the link change places, in one step
					_ = unix.Renameat2(unix.AT_FDCWD, s.Root+"/srv/app", unix.AT_FDCWD, s.Root+"/srv/link", unix.RENAME_EXCHANGE)
				}
			}
		}()
		for i := range 400 {
			_ = s.WriteFile(t.Context(), "/srv/app/conf", schema.File{State: schema.Present, Mode: "0644"}, fmt.Appendf(nil, "new %d", i))
			_ = s.ChangeFile(t.Context(), "/srv/app/conf", schema.File{State: schema.Present, Mode: "0666"})
			if i%50 == 0 {
				_ = s.RemoveFile(t.Context(), "/srv/app/conf")
			}
			untouched(t, s)
		}
		close(stop)
		<-done
		untouched(t, s)
	})
}

func TestAContentThatIsNotTheOneJudgedIsNotWritten(t *testing.T) {
	s := System{Root: t.TempDir()}
	sum := strings.Repeat("ab", 32)
	r := fileResource("/x", schema.File{Source: "files/x"})
	r.Blob = &schema.Blob{SHA256: sum, Size: 3}
	k := file.Kind{Host: s, Content: func(string) ([]byte, error) { return []byte("abc"), nil }}
	if err := k.Apply(t.Context(), []schema.Resource{r})[0]; err == nil || !strings.Contains(err.Error(), "the policy was judged with sha256:abababababab") {
		t.Errorf("Apply = %v", err)
	}
	if _, err := os.Lstat(s.Root + "/x"); err == nil {
		t.Error("it was written")
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add([]byte(passwdText), []byte(groupText))
	f.Add([]byte("+::::::\nx:y:z\n"), []byte("+:::\n:x:1:a,,b\n"))
	f.Fuzz(func(t *testing.T, passwd, group []byte) {
		users, groups := accounts(parsePasswd(passwd), parseGroup(group))
		for name, u := range users {
			if name == "" || u.UID == nil || strings.ContainsAny(name, ":\n") {
				t.Errorf("account %q %+v", name, u)
			}
			for _, g := range u.Groups {
				if !groups[g] {
					t.Errorf("account %q is in group %q, which is not there", name, g)
				}
			}
		}
	})
}

func FuzzBootSysctls(f *testing.F) {
	f.Add([]byte(bootHeader + "a.b = 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := parseBoot(b)
		text, err := formatBoot(lines)
		if err != nil {
			return
		}
		again := parseBoot(text)
		if len(again) != len(lines) {
			t.Errorf("%q becomes %q", lines, again)
		}
	})
}

func TestAccountsNeedTheShadowSuite(t *testing.T) {
	c := Command{Path: "no-useradd-here"}
	if _, err := Run(t.Context(), c); !errors.Is(err, ErrNoProgram) {
		t.Errorf("Run = %v", err)
	}
	for _, name := range []string{"-x", "", "a:b", "a\nb"} {
		if err := (System{Root: t.TempDir()}).CreateUser(t.Context(), name, schema.User{}); err == nil || !strings.Contains(err.Error(), "account") {
			t.Errorf("CreateUser(%q) = %v", name, err)
		}
	}
}

// BenchmarkCheckFiles: nothing differs, 1 KiB each, mode and owner given, ten folders.
func BenchmarkCheckFiles(b *testing.B) {
	for _, stepwise := range []bool{false, true} {
		b.Run(fmt.Sprintf("files=1000/stepwise=%v", stepwise), func(b *testing.B) {
			s := System{Root: b.TempDir(), stepwise: stepwise}
			put(b, s.Root+"/etc/passwd", passwdText, 0o644)
			put(b, s.Root+"/etc/group", groupText, 0o644)
			var rs []schema.Resource
			for i := range 1000 {
				path := fmt.Sprintf("/srv/conf/%d/file-%d.conf", i/100, i)
				content := strings.Repeat(fmt.Sprintf("line %d of a file\n", i), 55)
				put(b, s.Root+path, content, 0o644)
				rs = append(rs, fileResource(path, schema.File{Content: &content, Mode: "0644", Owner: "root", Group: "root"}))
			}
			k := file.Kind{Host: s}
			b.ReportAllocs()
			for b.Loop() {
				for i, c := range k.Check(b.Context(), rs) {
					if c.Err != nil || len(c.Drift) != 0 {
						b.Fatalf("Check(%s) = %+v", rs[i].Key, c)
					}
				}
			}
		})
	}
}
