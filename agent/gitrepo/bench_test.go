package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkFirstFetch fetches a policy of 200 files and 4,000 commits for the first time: all of it, and from the last but 20 of
// its commits on; how many bytes the store has then, and how many times more, and longer, it is with all of it.
func BenchmarkFirstFetch(b *testing.B) {
	bare, _ := origin(b)
	rnd := rand.New(rand.NewPCG(2, 2))
	var in bytes.Buffer
	text := func() string {
		var s strings.Builder
		for range 40 {
			fmt.Fprintf(&s, "policy: p%x: {targets: all: true, mode: \"audit\", value: %d}\n", rnd.Uint64(), rnd.Uint32())
		}
		return s.String()
	}
	for i := range 4000 {
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\ncommitter a <a@b> %d +0000\ndata 1\nx\n", i+1, i+1)
		if i > 0 {
			fmt.Fprintf(&in, "from :%d\n", i)
		}
		for f := range 200 {
			if i == 0 || f == rnd.IntN(200) {
				s := text()
				fmt.Fprintf(&in, "M 100644 inline policies/d%02d/f%03d.cue\ndata %d\n%s\n", f%20, f, len(s), s)
			}
		}
		fmt.Fprintln(&in)
	}
	cmd := exec.Command("git", "fast-import", "--quiet")
	cmd.Dir, cmd.Stdin = bare, &in
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("git fast-import: %v: %s", err, out)
	}
	run(b, bare, "repack", "-q", "-a", "-d")
	https, _ := smart(b, bare)
	for name, r := range map[string]Remote{"https": https, "file": {URL: bare, Branch: "main"}} {
		b.Run(name, func(b *testing.B) {
			var took [2]time.Duration
			var size [2]int64
			for b.Loop() {
				for i, since := range []string{"", run(b, bare, "rev-parse", "main~20")} {
					r.Since = since
					s := open(b, r)
					start := time.Now()
					if _, err := s.Fetch(context.Background(), "main"); err != nil {
						b.Fatal(err)
					}
					took[i] += time.Since(start)
					size[i] = 0
					for p := range s.packs() {
						if info, err := os.Stat(p + ".pack"); err == nil {
							size[i] += info.Size()
						}
					}
				}
			}
			for i, what := range []string{"all", "anchored"} {
				b.ReportMetric(float64(took[i].Milliseconds())/float64(b.N), what+"-ms")
				b.ReportMetric(float64(size[i]>>10), what+"-KiB")
			}
			b.ReportMetric(float64(took[0])/float64(took[1]), "times-longer")
			b.ReportMetric(float64(size[0])/float64(size[1]), "times-more")
		})
	}
}

// BenchmarkFetchNearTheLimit fetches packs of almost MaxPack, of two large files or of many small ones, and tells the most
// memory that the heap had meanwhile.
func BenchmarkFetchNearTheLimit(b *testing.B) {
	for _, files := range []int{2, 6000} {
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) {
			ctx := context.Background()
			base := b.TempDir()
			remote, err := OpenStore(filepath.Join(base, "remote"), Remote{})
			if err != nil {
				b.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(1, 1))
			content := map[string][]byte{}
			for i := range files {
				f := make([]byte, (60<<20)/files)
				for j := range f {
					f[j] = byte(rnd.Uint32())
				}
				content[fmt.Sprintf("d%02d/f%05d", i%50, i)] = f
			}
			commit, err := remote.Commit(Change{Files: content, Message: "large", Author: "a", Email: "a@b", When: time.Unix(1, 0)})
			if err != nil {
				b.Fatal(err)
			}
			content = nil
			if err := remote.SetRef("refs/heads/main", commit); err != nil {
				b.Fatal(err)
			}
			var most atomic.Uint64
			stop := make(chan struct{})
			go func() {
				var m runtime.MemStats
				for {
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
						runtime.ReadMemStats(&m)
						most.Store(max(most.Load(), m.HeapInuse))
					}
				}
			}()
			defer close(stop)
			for b.Loop() {
				s, err := OpenStore(b.TempDir(), Remote{URL: filepath.Join(base, "remote"), Branch: "main"})
				if err != nil {
					b.Fatal(err)
				}
				runtime.GC()
				most.Store(0)
				if _, err := s.Fetch(ctx, "main"); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(most.Load())/(1<<20), "peak-MiB")
		})
	}
}
