//go:build !linux

package host

import (
	"context"

	"github.com/dunlin-dev/dunlin/schema"
)

func noSystemd() error {
	return noSystemdError{}
}

func units(context.Context, []string) ([]schema.Unit, error) { return nil, noSystemd() }
func unitFiles(context.Context, []string) ([]string, error)  { return nil, noSystemd() }
func changeUnit(context.Context, string, unitChange) error   { return noSystemd() }
func linkUnit(context.Context, string, bool) error           { return noSystemd() }
func reloadUnits(context.Context) error                      { return noSystemd() }
