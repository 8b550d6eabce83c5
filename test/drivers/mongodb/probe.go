// The MongoDB Go driver as a user's program: looks for a document at each URI, prints how many there are or the error's own words. Arguments as in clients.ts.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

func attempt(uri string) string {
	parsed, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return err.Error()
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return err.Error()
	}
	defer client.Disconnect(context.Background())
	cursor, err := client.Database(parsed.Database).Collection("orders").Find(context.Background(), bson.D{})
	if err != nil {
		return err.Error()
	}
	var found []bson.D
	if err := cursor.All(context.Background(), &found); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d documents", len(found))
}

func main() {
	for _, uri := range os.Args[1:] {
		fmt.Println(strings.ReplaceAll(attempt(uri), "\n", " "))
	}
}
