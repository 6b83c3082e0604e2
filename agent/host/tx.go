package host

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// A transaction is three files in the folder STATE/tx: ID.json, what is to be done, written
// before it begins; ID.log, what the package manager said; ID.result.json, written when it has
// ended. The process that does it holds STATE/tx/lock (flock) from before it is said to have
// begun until it ends: an intent without a result whose lock is free belongs to a process that died.

// keepTransactions is how many finished transactions stay in the folder.
const keepTransactions = 20

// maxIntent and maxLog bound what is read of a transaction's files, in bytes. A log that grows
// beyond maxLog is begun anew.
const (
	maxIntent = 8 << 20
	maxLog    = 32 << 20
)

var txID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{8}T[0-9]{6}-[0-9a-f]{8}$`) })

// txOp is what a transaction process does.
type txOp string

const (
	opPrepare  txOp = "prepare"
	opTransact txOp = "transact"
)

// txIntent is ID.json.
type txIntent struct {
	V       int                `json:"v"`
	ID      string             `json:"id"`
	Op      txOp               `json:"op"`
	Refresh bool               `json:"refresh,omitempty"`
	Tx      schema.Transaction `json:"transaction"`
	// Auto are packages ("name:arch") to be marked again as come by dependency: naming them to apt
	// marks them as wanted.
	Auto        []string      `json:"auto,omitempty"`
	Created     time.Time     `json:"created"`
	Deadline    time.Duration `json:"deadline"`
	KillGrace   time.Duration `json:"killGrace"`
	LockTimeout time.Duration `json:"lockTimeout"`
}

// txResult is ID.result.json.
type txResult struct {
	schema.TransactionResult
	Warnings []string `json:"warnings,omitempty"`
}

// txFolder is STATE/tx.
type txFolder string

func (d txFolder) intent(id string) string   { return filepath.Join(string(d), id+".json") }
func (d txFolder) result(id string) string   { return filepath.Join(string(d), id+".result.json") }
func (d txFolder) log(id string) string      { return filepath.Join(string(d), id+".log") }
func (d txFolder) progress(id string) string { return filepath.Join(string(d), id+".progress") }
func (d txFolder) lock() string              { return filepath.Join(string(d), "lock") }

// ids lists the transactions of the folder, oldest first.
func (d txFolder) ids() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, fmt.Errorf("read transactions: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && txID().MatchString(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// open lists the transactions that have no result.
func (d txFolder) open() ([]string, error) {
	ids, err := d.ids()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(ids, func(id string) bool {
		_, err := os.Lstat(d.result(id))
		return err == nil
	}), nil
}

// prune removes the oldest finished transactions.
func (d txFolder) prune() {
	ids, err := d.ids()
	if err != nil {
		return
	}
	for len(ids) > keepTransactions {
		id := ids[0]
		ids = ids[1:]
		if _, err := os.Lstat(d.result(id)); err != nil {
			continue
		}
		for _, path := range []string{d.log(id), d.progress(id), d.intent(id), d.result(id)} {
			_ = os.Remove(path)
		}
	}
}

func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxIntent+1))
	if err != nil {
		return fmt.Errorf("read %q: %w", path, err)
	}
	if len(b) > maxIntent {
		return fmt.Errorf("read %q: larger than %d bytes", path, maxIntent)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %q: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return writeDurably(path, append(b, '\n'))
}

// tailOf reads the last max bytes of a file.
func tailOf(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err == nil && st.Size() > max {
		if _, err := f.Seek(-max, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, max))
}

// RunTransaction does the transaction id of the folder state; it is what `dunlin tx` runs. ready is
// called once nobody else can begin one. What becomes of the transaction is in its result file; the
// error is about that file and the intent alone.
//
// When ctx ends, the command that runs is waited for and no further one is begun.
func RunTransaction(ctx context.Context, state, id string, ready func()) error {
	if !txID().MatchString(id) {
		return fmt.Errorf("transaction %q: not an id such as 20060102T150405-0123abcd", id)
	}
	return runTransaction(ctx, state, id, ready)
}

// lastInstallsOf judges by the host's packages what became of a transaction's installations.
func lastInstallsOf(tx schema.Transaction, have []schema.PackageStatus, res schema.TransactionResult) []schema.LastInstall {
	out := make([]schema.LastInstall, 0, len(tx.Install))
	for _, ref := range tx.Install {
		e := schema.LastInstall{Name: ref.Name, Arch: ref.Arch, Version: ref.Version, At: res.Ended, Outcome: "failed"}
		i := slices.IndexFunc(have, func(st schema.PackageStatus) bool {
			return st.Name == ref.Name && (st.Arch == ref.Arch || ref.Arch == "" || ref.Arch == "all" || st.Arch == "all")
		})
		switch {
		case i >= 0 && have[i].State == "installed" && (ref.Version == "" || have[i].Version == ref.Version):
			e.Outcome, e.Arch, e.Version = "installed", have[i].Arch, have[i].Version
		case res.Words[ref.Name] != "":
			e.Reason = res.Words[ref.Name]
		default:
			e.Reason = res.Failure
		}
		out = append(out, e)
	}
	return out
}
