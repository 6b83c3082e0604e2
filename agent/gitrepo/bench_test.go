package gitrepo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

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
