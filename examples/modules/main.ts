import { greet } from './person';

console.log(greet({ name: 'Ada' }));
