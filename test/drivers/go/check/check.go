// Package check prints one line for each thing a driver was seen to do, and ends the program with 1 when one of them went wrong.
package check

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// Where the environment says the gateway is, and as whom to connect.
var (
	Host     = need("TDB_HOST")
	Port     = need("TDB_PORT")
	User     = need("TDB_USER")
	Password = need("TDB_PASSWORD")
	Database = need("TDB_DATABASE")
	CAFile   = need("TDB_CA_FILE")
)

func need(name string) string {
	value := os.Getenv(name)
	if value == "" {
		fmt.Fprintln(os.Stderr, name+" is not set")
		os.Exit(2)
	}
	return value
}

// URL is the tenant's connection string, the server's certificate verified, with more parameters in pairs of name and value.
func URL(more ...string) string {
	return urlOf(Database, Password, more...)
}

// WorkspaceURL is the connection string of the workspace.
func WorkspaceURL() string {
	return urlOf(need("TDB_WORKSPACE_DATABASE"), need("TDB_WORKSPACE_PASSWORD"))
}

func urlOf(database, password string, more ...string) string {
	query := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {CAFile}}
	for i := 0; i+1 < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return (&url.URL{Scheme: "postgresql", User: url.UserPassword(User, password), Host: Host + ":" + Port, Path: "/" + database, RawQuery: query.Encode()}).String()
}

// Run says which version of the driver's module this is, does each step with a bound on its time and prints how it went.
func Run(module string, steps []Step) {
	fmt.Println("version " + Version(module))
	failed := false
	for _, step := range steps {
		if step.Skip != "" {
			fmt.Printf("skip %s: %s\n", step.Name, step.Skip)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := attempt(ctx, step); err != nil {
			failed = true
			fmt.Printf("fail %s: %s\n", step.Name, strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("ok " + step.Name)
		}
		cancel()
	}
	if failed {
		os.Exit(1)
	}
}

// Step is one thing a driver does, or why it has no way to do it.
type Step struct {
	Name string
	Do   func(ctx context.Context) error
	Skip string
}

func attempt(ctx context.Context, step Step) (err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("%v", caught)
		}
	}()
	return step.Do(ctx)
}

// Version is the one of a module that this program was built with.
func Version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return strings.TrimPrefix(dependency.Version, "v")
			}
		}
	}
	return "unknown"
}

// Must stops the step with an error.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// Got is the value of a call, or the step's end.
func Got[T any](value T, err error) T {
	Must(err)
	return value
}

// Equal stops the step when two values differ.
func Equal[T comparable](got, want T) {
	if got != want {
		panic(fmt.Errorf("got %v, expected %v", got, want))
	}
}
