import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** What takes minutes, in the order it is begun, so that no worker is left alone with it at the end. By the size of their files most of these would come last. */
const longest = [/\/test\/drivers\//, /\/test\/e2e\/versions\//, /\/test\/e2e\//, /\/test\/gateway\//];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = longest.findIndex((place) => place.test(moduleId));
      return at < 0 ? longest.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // On two cores a third fills the time that two spend waiting for timeouts and other programs.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
  },
});
