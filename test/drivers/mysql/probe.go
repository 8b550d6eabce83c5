// go-sql-driver as a user's program: connects, runs a statement, prints what came back or the error's own words. Arguments as in clients.ts.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/go-sql-driver/mysql"
)

func main() {
	host, port, user, ca := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	pem, err := os.ReadFile(ca)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, each := range os.Args[5:] {
		parts := strings.SplitN(each, "\t", 4)
		config := mysql.NewConfig()
		config.Net, config.Addr = "tcp", net.JoinHostPort(host, port)
		config.User, config.Passwd, config.DBName = user, parts[0], parts[1]
		if parts[2] == "tls" {
			config.TLS = &tls.Config{RootCAs: roots, ServerName: host}
		}
		fmt.Println(strings.ReplaceAll(attempt(config, parts[3]), "\n", " "))
	}
}

func attempt(config *mysql.Config, query string) string {
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err.Error()
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	rows, err := db.Query(query)
	if err != nil {
		return err.Error()
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return err.Error()
		}
		found = append(found, value)
	}
	return strings.Join(found, ",")
}
