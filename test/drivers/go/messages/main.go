// Command messages connects as each line of standard input says and prints what pgx shows its user.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
)

func try(given []string) error {
	ctx := context.Background()
	dsn := fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=%s sslmode=%s", given[0], given[1], given[2], given[3], given[4], given[5])
	connection, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	rows, err := connection.Query(ctx, given[6])
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return rows.Err()
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		shown := "no error"
		if err := try(strings.Split(lines.Text(), "\t")); err != nil {
			shown = err.Error()
		}
		fmt.Println(strings.Join(strings.Fields(shown), " "))
	}
}
