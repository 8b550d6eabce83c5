// GORM: AutoMigrate against a workspace, the rest against a tenant.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	. "tenantry.test/drivers/check"
)

type Account struct {
	ID      uint    `gorm:"primaryKey"`
	Name    string  `gorm:"size:255;not null"`
	Email   string  `gorm:"size:255;uniqueIndex;not null"`
	Balance float64 `gorm:"type:decimal(15,2);default:0"`
}

func main() {
	if len(os.Args) > 1 {
		migrate(os.Args[1])
		return
	}
	Run("gorm.io/gorm", []Step{
		{Name: "types", Do: types},
		{Name: "prepared statements", Do: prepared},
		{Name: "transactions", Do: transactions},
		{Name: "pool", Do: pool},
		{Name: "cancellation", Do: cancellation},
		{Name: "errors", Do: errorMapping},
		{Name: "LISTEN", Skip: "GORM has no interface for it"},
		{Name: "reconnect", Do: reconnect},
		{Name: "CRUD", Do: crud},
		{Name: "row locks", Do: locks},
		{Name: "batches", Do: batches},
		{Name: "AutoMigrate refused on a tenant", Do: refused},
	})
}

func open() *gorm.DB {
	return Got(gorm.Open(postgres.Open(URL()), &gorm.Config{TranslateError: true, Logger: logger.Discard}))
}

func types(ctx context.Context) error {
	var row struct {
		Big    int64
		Text   string
		Bytes  []byte
		Moment time.Time
		Amount string
		None   *string
	}
	moment := time.Date(2026, 2, 28, 23, 59, 59, 123456000, time.UTC)
	Must(open().WithContext(ctx).Raw("SELECT ?::int8 AS big, ?::text AS text, ?::bytea AS bytes, ?::timestamptz AS moment, ?::numeric AS amount, ?::text AS none",
		int64(1)<<62, "žluťoučký 🐘", []byte{0, 1, 255}, moment, "12345678901234567890.12", nil).Scan(&row).Error)
	Equal(fmt.Sprintln(row.Big, row.Text, row.Bytes, row.Moment.Equal(moment), row.Amount, row.None == nil),
		"4611686018427387904 žluťoučký 🐘 [0 1 255] true 12345678901234567890.12 true\n")
	return nil
}

func prepared(ctx context.Context) error {
	db := open().WithContext(ctx).Session(&gorm.Session{PrepareStmt: true})
	for i := range 50 {
		var twice int
		Must(db.Raw("SELECT ?::int * 2", i).Scan(&twice).Error)
		Equal(twice, 2*i)
	}
	return nil
}

func pool(ctx context.Context) error {
	db := open().WithContext(ctx)
	Got(db.DB()).SetMaxOpenConns(4)
	var group sync.WaitGroup
	failures := make([]error, 40)
	for i := range failures {
		group.Go(func() {
			var twice int
			failures[i] = db.Raw("SELECT ?::int * 2", i).Scan(&twice).Error
			if failures[i] == nil && twice != 2*i {
				failures[i] = fmt.Errorf("%d answered to %d", twice, i)
			}
		})
	}
	group.Wait()
	return errors.Join(failures...)
}

func cancellation(ctx context.Context) error {
	db := open()
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	Equal(errors.Is(db.WithContext(short).Exec("SELECT pg_sleep(30)").Error, context.DeadlineExceeded), true)
	return db.WithContext(ctx).Exec("SELECT 1").Error
}

func reconnect(ctx context.Context) error {
	db := open().WithContext(ctx)
	Got(db.DB()).SetMaxOpenConns(1)
	err := db.Exec("SELECT pg_terminate_backend(pg_backend_pid())").Error
	Equal(err != nil && strings.Contains(err.Error(), "57P01"), true)
	return db.Exec("SELECT 1").Error
}

func crud(ctx context.Context) error {
	db := open().WithContext(ctx)
	account := Account{Name: "Gorm", Email: fmt.Sprintf("gorm-%d@test.com", os.Getpid()), Balance: 12.5}
	Must(db.Create(&account).Error)
	Equal(account.ID != 0, true)
	var found Account
	Must(db.First(&found, "email = ?", account.Email).Error)
	Equal(found, account)
	Must(db.Model(&found).Update("balance", 13).Error)
	Must(db.First(&found, account.ID).Error)
	Equal(found.Balance, 13)
	Must(db.Delete(&found).Error)
	Equal(errors.Is(db.First(&Account{}, account.ID).Error, gorm.ErrRecordNotFound), true)
	return nil
}

func transactions(ctx context.Context) error {
	db := open().WithContext(ctx)
	count := func() (rows int64) {
		Must(db.Model(&Account{}).Where("name = ?", "Gorm steps").Count(&rows).Error)
		return rows
	}
	stop := errors.New("stop")
	err := db.Transaction(func(tx *gorm.DB) error {
		Must(tx.Create(&Account{Name: "Gorm steps", Email: "gorm-outer@test.com"}).Error)
		inner := tx.Transaction(func(tx *gorm.DB) error {
			Must(tx.Create(&Account{Name: "Gorm steps", Email: "gorm-inner@test.com"}).Error)
			return stop
		})
		Equal(inner, stop)
		var rows int64
		Must(tx.Model(&Account{}).Where("name = ?", "Gorm steps").Count(&rows).Error)
		Equal(rows, 1)
		return stop
	})
	Equal(err, stop)
	Equal(count(), 0)
	return nil
}

func locks(ctx context.Context) error {
	return open().WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var accounts []Account
		return tx.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}).Limit(1).Find(&accounts).Error
	})
}

func errorMapping(ctx context.Context) error {
	db := open().WithContext(ctx)
	stop := errors.New("stop")
	err := db.Transaction(func(tx *gorm.DB) error {
		Must(tx.Create(&Account{Name: "Twice", Email: "gorm-twice@test.com"}).Error)
		Equal(errors.Is(tx.Create(&Account{Name: "Twice", Email: "gorm-twice@test.com"}).Error, gorm.ErrDuplicatedKey), true)
		return stop
	})
	Equal(err, stop)
	return nil
}

type Invoice struct {
	ID uint
}

func refused(ctx context.Context) error {
	err := open().WithContext(ctx).AutoMigrate(&Invoice{})
	Equal(err != nil && strings.Contains(err.Error(), "DDL not allowed on tenant databases, use workspace mode (SQLSTATE 42501)"), true)
	return nil
}

func batches(ctx context.Context) error {
	db := open().WithContext(ctx)
	stop := errors.New("stop")
	err := db.Transaction(func(tx *gorm.DB) error {
		accounts := make([]Account, 500)
		for i := range accounts {
			accounts[i] = Account{Name: "Gorm batch", Email: fmt.Sprintf("gorm-batch-%d@test.com", i)}
		}
		Must(tx.CreateInBatches(accounts, 100).Error)
		seen := 0
		var batch []Account
		Must(tx.Where("name = ?", "Gorm batch").FindInBatches(&batch, 90, func(*gorm.DB, int) error {
			seen += len(batch)
			return nil
		}).Error)
		Equal(seen, 500)
		return stop
	})
	Equal(err, stop)
	return nil
}
