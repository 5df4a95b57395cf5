// Parses each file given with the real Mermaid, as GitHub's page would. Prints one line a file:
// the kind of diagram, or what is wrong; exits with 1 if anything is wrong.
import { readFileSync } from 'node:fs';
import { JSDOM } from 'jsdom';

// Mermaid wants a page around it, and looks for it when it is loaded.
const { window } = new JSDOM('');
globalThis.window = window;
globalThis.document = window.document;
const { default: mermaid } = await import('mermaid');

for (const file of process.argv.slice(2)) {
  try {
    const { diagramType } = await mermaid.parse(readFileSync(file, 'utf8'));
    console.log(`${file}: ${diagramType}`);
  } catch (error) {
    console.log(`${file}: ${error.message}`);
    process.exitCode = 1;
  }
}
