//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/dunlin-dev/dunlin/schema"
)

var errNoApt = fmt.Errorf("apt: %w", errors.ErrUnsupported)

type databaseStamp struct{}

func (p Packages) packages(context.Context) ([]schema.PackageStatus, error) { return nil, errNoApt }

func (p Packages) prepare(context.Context, bool) (schema.Prepared, error) {
	return schema.Prepared{}, errNoApt
}

func (p Packages) simulate(context.Context, schema.Transaction) (schema.Simulation, error) {
	return schema.Simulation{}, errNoApt
}

func (p Packages) transact(context.Context, schema.Transaction) (schema.TransactionResult, error) {
	return schema.TransactionResult{}, errNoApt
}

func (p Packages) atWork() string { return "" }

func (p Packages) settle(context.Context) error { return nil }

func runTransaction(context.Context, string, string, func()) error { return errNoApt }

// Ready does nothing: transactions of packages do not run here.
func Ready(int) func() { return func() {} }
