package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// fileWho hears from fanotify which process changes files in watched folders; fsnotify tells of the change alone. It needs
// Linux 5.9, CAP_SYS_ADMIN and a file system with handles (not every overlayfs has them). Without it nobody is named.
type fileWho struct {
	tell   func(Drift)
	events *os.File
	self   int32

	mu      sync.Mutex
	folders map[string]map[string]string // what to tell by name, by the handle of the folder
	handles map[string]string            // of what is marked, by path
}

// whoMask is what changes a file: FAN_CLOSE_WRITE and not FAN_MODIFY, which comes with each write.
const whoMask = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO | unix.FAN_CLOSE_WRITE | unix.FAN_ATTRIB | unix.FAN_EVENT_ON_CHILD

// newFileWho is nil where the kernel or the lack of a right denies it.
func newFileWho(h *hints) *fileWho {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_REPORT_DFID_NAME, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil
	}
	return &fileWho{tell: h.tell, events: os.NewFile(uintptr(fd), "fanotify"), self: int32(os.Getpid()), folders: map[string]map[string]string{}, handles: map[string]string{}}
}

// add hears of the named files in a folder.
func (w *fileWho) add(path string, files map[string]string) {
	handle, err := folderHandle(path)
	if err != nil {
		return
	}
	raw, err := w.events.SyscallConn()
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = raw.Control(func(fd uintptr) {
		err = unix.FanotifyMark(int(fd), unix.FAN_MARK_ADD|unix.FAN_MARK_ONLYDIR|unix.FAN_MARK_DONT_FOLLOW, whoMask, unix.AT_FDCWD, path)
	})
	if err != nil {
		return
	}
	w.folders[handle], w.handles[path] = files, handle
}

// remove ends that. A folder that was moved away keeps its mark, and is not heard of any more.
func (w *fileWho) remove(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	handle, ok := w.handles[path]
	if !ok {
		return
	}
	delete(w.handles, path)
	delete(w.folders, handle)
	now, err := folderHandle(path)
	if err != nil || now != handle {
		return
	}
	if raw, err := w.events.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.FanotifyMark(int(fd), unix.FAN_MARK_REMOVE|unix.FAN_MARK_ONLYDIR|unix.FAN_MARK_DONT_FOLLOW, whoMask, unix.AT_FDCWD, path)
		})
	}
}

// run tells of what is heard until ctx ends.
func (w *fileWho) run(ctx context.Context) {
	defer w.events.Close()
	defer context.AfterFunc(ctx, func() { _ = w.events.Close() })()
	buf := make([]byte, 16<<10)
	pause := time.NewTimer(time.Hour)
	defer pause.Stop()
	var goes bucket
	for {
		n, err := w.events.Read(buf)
		if err != nil {
			return
		}
		w.heard(buf[:n])
		if !goes.full(time.Now()) {
			continue
		}
		pause.Reset(restTime)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// heard takes what one read gave: struct fanotify_event_metadata of fanotify(7), each followed by information records.
func (w *fileWho) heard(b []byte) {
	const size = 24 // of the metadata
	names := map[int32]string{}
	for len(b) >= size {
		length, meta, pid := binary.NativeEndian.Uint32(b), int(binary.NativeEndian.Uint16(b[6:])), int32(binary.NativeEndian.Uint32(b[20:]))
		if int(length) < size || int(length) > len(b) || meta < size || meta > int(length) || b[4] != unix.FANOTIFY_METADATA_VERSION {
			return
		}
		records := b[meta:length]
		b = b[length:]
		if pid <= 0 || pid == w.self {
			continue
		}
		resource := w.named(records)
		if resource == "" {
			continue
		}
		if _, known := names[pid]; !known {
			names[pid] = processOf(int(pid))
		}
		w.tell(Drift{resource, names[pid]})
	}
}

// named is what to tell of the file that the records name (struct fanotify_event_info_fid); empty for one of no interest.
func (w *fileWho) named(b []byte) string {
	for len(b) >= 4 {
		kind, length := b[0], int(binary.NativeEndian.Uint16(b[2:]))
		if length < 4 || length > len(b) {
			return ""
		}
		record := b[:length]
		b = b[length:]
		// Header 4, fsid 8, size of the handle 4, its type 4, the handle, the name.
		if kind != unix.FAN_EVENT_INFO_TYPE_DFID_NAME || length < 20 {
			continue
		}
		end := 20 + int(binary.NativeEndian.Uint32(record[12:]))
		if end < 20 || end > length {
			return ""
		}
		name, _, _ := bytes.Cut(record[end:], []byte{0})
		w.mu.Lock()
		files := w.folders[string(record[4:12])+string(record[16:end])]
		w.mu.Unlock()
		return files[string(name)]
	}
	return ""
}

// folderHandle is how the kernel names a folder in events: its file system, type and bytes of its handle.
func folderHandle(path string) (string, error) {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return "", err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return "", err
	}
	var b []byte
	for _, v := range fs.Fsid.Val {
		b = binary.NativeEndian.AppendUint32(b, uint32(v))
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(h.Type()))
	return string(append(b, h.Bytes()...)), nil
}

// processOf names a process of which only the number is known; one that has ended has no name any more.
func processOf(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return fmt.Sprintf("a process that has ended (pid %d)", pid)
	}
	return processText(strings.TrimSuffix(string(name), "\n"), pid, true)
}
